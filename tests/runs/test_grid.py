"""Grids of radius, rigidity and estimator: cells equal to the library's own, continued where they stopped, drawn and tabulated."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
import zarr
from click.testing import CliRunner

import djservice as dj
from djservice.cli import main
from djservice.clustering.sampling import Sampling
from djservice.config.run import Run
from djservice.errors import ConfigError, DjserviceError, StoreError
from djservice.estimators.finite_difference import FiniteDifference
from djservice.estimators.score_function import LeaveOneOut, Score
from djservice.estimators.state_baseline import StateBaseline
from djservice.evaluation.evaluate import evaluate
from djservice.on_dask.arithmetic import clustering_digest
from djservice.reports.grid_figures import _compare_figure, comparison, comparison_text, draw
from djservice.runs.grid import compare, label, scan
from djservice.store.grid_store import COLUMNS, GridStore, read_grid
from djservice.store.local_folder import LocalFolder


@pytest.fixture
def run(tiny: dict[str, Any], scheduler: str) -> Run:
    return Run.from_dict(tiny | {"cluster": {"scheduler": scheduler}})


def test_a_scan_is_the_librarys_own(run: Run, tmp_path: Path) -> None:
    import xarray as xr

    store = scan(run, tmp_path / "scan.zarr", rigidities=(1.0, 10.0), radii=(0.9, 0.4), trees=5)
    grid = xr.open_zarr(store, consolidated=False)
    assert dict(grid.sizes) == {"estimator": 1, "rigidity": 2, "radius": 2, "repetition": 1}
    assert set(COLUMNS) <= set(grid.variables)
    assert grid.attrs["versions"]["arithmetic"] == clustering_digest()
    events = dj.read("example:ZHllbb_200", schema=dj.schemas.nanoaod(pt_min=2.0), entries=(0, 40))
    loss = dj.SquaredError(dj.observables.dijet_mass, target=125.0, scale=125.0)
    loss = loss.where(dj.cuts.two_jets(pt_min=20.0) & dj.cuts.mass_below(250.0))
    for a, rigidity in enumerate((1.0, 10.0)):
        for r, radius in enumerate((0.9, 0.4)):
            sampling = Sampling(rigidity=rigidity, seed=run.seed)
            moments, _ = evaluate(
                events, loss, StateBaseline(), sampling, radius=radius, trees=5, stream="grid"
            )
            for name in ("loss", "gradient", "mean", "sd"):
                cell = grid[name].values[0, a, r, 0]
                assert cell == pytest.approx(getattr(moments, name)().value, rel=1e-11)
            assert grid["acceptance"].values[0, a, r, 0] == pytest.approx(
                moments.acceptance, rel=1e-12
            )
            assert grid["cpu"].values[0, a, r, 0] > 0
    files = draw(store)
    assert [f.suffix for f in files] == [".png", ".svg"] and all(
        f.stat().st_size > 5000 for f in files
    )


def test_a_comparison_goes_on_where_it_stopped(run: Run, tmp_path: Path) -> None:
    estimators = (LeaveOneOut(), Score(), FiniteDifference(step=0.1))
    arguments: dict[str, Any] = {
        "rigidities": (1.0,),
        "radii": (0.5, 0.8),
        "repetitions": 3,
        "trees": 4,
    }
    store = compare(run, tmp_path / "compare.zarr", estimators, **arguments)
    before = {name: read_grid(store)[name] for name in COLUMNS}
    assert all(np.isfinite(values).all() for values in before.values())
    # Repetitions have random numbers of their own, estimators the same ones.
    np.testing.assert_array_equal(before["loss"][0], before["loss"][1])
    assert len(np.unique(before["loss"][0])) == 6

    rows = comparison(store)
    labels = ["leave_one_out", "score", "finite_difference (step 0.1, common True)"]
    # The biased one is last, whatever its cost.
    assert rows[-1].estimator == labels[-1]
    assert [row.biased for row in rows] == [False, False, True]
    assert rows[0].cost <= rows[1].cost
    rows.sort(key=lambda row: labels.index(row.estimator))
    assert rows[0].apart == 0.0 and rows[1].cost == 1.0
    variance = before["gradient"][:, 0].var(axis=-1, ddof=1).mean(axis=-1)
    cpu = before["cpu"][:, 0].mean(axis=(-2, -1))
    assert [row.variance for row in rows] == pytest.approx(variance.tolist())
    assert [row.cost for row in rows] == pytest.approx(
        (variance * cpu / (variance[1] * cpu[1])).tolist()
    )
    table = comparison_text(store).split("\n")
    assert "variance x CPU / score" in table[0]
    assert table[3].endswith("  biased")
    assert table[4].startswith("cheapest without bias at alpha 1: ")

    # One that scatters over orders of magnitude does not hide the others.
    root = read_grid(store)
    assert [panel.get_xlabel() for panel in _compare_figure(root).axes[:4]] == ["", "R", "R", "R"]
    scales = [panel.get_yscale() for panel in _compare_figure(root).axes[1:4]]
    assert scales == ["linear"] * 3
    group = GridStore(LocalFolder(str(store)), "r+").group
    wild = before["gradient"].copy()
    wild[2] *= 1e6
    for cell, value in enumerate(wild.ravel()):
        group.append(cell, {"gradient": [value]})
    _, first, second, third = _compare_figure(root).axes[:4]
    assert [panel.get_yscale() for panel in (first, second, third)] == [
        "linear",
        "linear",
        "symlog",
    ]
    assert np.abs(first.get_ylim()).max() < 10.0 * np.abs(before["gradient"][:2]).max()
    group.rewind(7)
    with pytest.raises(DjserviceError, match=r"7 of 18 cells are done"):
        comparison(store)
    assert compare(run, store, estimators, **arguments) == store
    np.testing.assert_array_equal(read_grid(store)["gradient"], before["gradient"])
    for other, message in (
        ({"trees": 5}, "trees differ"),
        ({"radii": (0.5, 0.9)}, "radius differ"),
        ({"repetitions": 4}, "repetitions differ"),
    ):
        with pytest.raises(StoreError, match=message):
            compare(run, store, estimators, **{**arguments, **other})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"rigidities": (1.0, 1.0)},
            r"rigidity: expected different, positive, finite numbers, found 1.0, 1.0",
        ),
        ({"radii": (-0.5, 1.0)}, r"radius: expected .*, found -0.5, 1.0"),
        ({"repetitions": 1}, r"repetitions: expected 2 or more, found 1"),
        ({"trees": 1}, r"trees: expected 2 or more for the leave_one_out estimator, found 1"),
    ],
)
def test_grids_without_meaning(
    run: Run, tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        compare(run, tmp_path / "grid.zarr", [LeaveOneOut()], **arguments)


def test_what_is_not_a_grid(tmp_path: Path, run: Run) -> None:
    with pytest.raises(StoreError, match="there is no grid here"):
        read_grid(tmp_path / "nowhere.zarr")
    zarr.open_group(str(tmp_path / "other.zarr"), mode="w")
    with pytest.raises(StoreError, match="not a grid"):
        scan(run, tmp_path / "other.zarr", radii=(0.5,), trees=4)


def test_labels_tell_estimators_apart() -> None:
    assert label(Score()) == "score"
    assert (
        label(FiniteDifference(0.2, common=False)) == "finite_difference (step 0.2, common False)"
    )


@pytest.mark.parametrize("command", ["scan", "compare"])
def test_the_store_of_a_run_is_none_of_a_grid(
    command: str, tiny: dict[str, Any], tmp_path: Path
) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump(tiny))
    done = CliRunner().invoke(main, [command, str(config), "--set", "output.store=a.zarr"])
    assert done.exit_code == 2 and "expected --output" in done.output


def test_on_the_command_line(tiny: dict[str, Any], scheduler: str, tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump(tiny))
    place = ["--scheduler", scheduler, "--radius", "0.5", "--radius", "0.8"]
    output = str(tmp_path / "s.zarr")
    done = CliRunner().invoke(
        main,
        ["scan", str(config), *place, "--rigidity", "2", "--trees", "20", "--output", output],
    )
    assert done.exit_code == 0, done.output
    assert f"wrote {output}" in done.output and (tmp_path / "s.png").exists()
    output = str(tmp_path / "c.zarr")
    few = [
        "--estimator",
        "score",
        "--estimator",
        "leave_one_out",
        "--estimator",
        "{name: gumbel_softmax, temperature: 2.0}",
        "--rigidity",
        "1",
        "--repetitions",
        "2",
        "--trees",
        "4",
    ]
    done = CliRunner().invoke(main, ["compare", str(config), *place, *few, "--output", output])
    assert done.exit_code == 0, done.output
    assert "variance x CPU / score" in done.output and (tmp_path / "c.svg").exists()
    assert "gumbel_softmax (temperature 2.0)" in done.output
    wrong = CliRunner().invoke(main, ["compare", str(config), "--estimator", "scores"])
    assert wrong.exit_code == 2 and "--estimator: expected one of state_baseline" in wrong.output
    wrong = CliRunner().invoke(
        main, ["compare", str(config), "--estimator", "{name: gumbel_softmax, warmth: 1}"]
    )
    assert wrong.exit_code == 2 and "gumbel_softmax has no parameter 'warmth'" in wrong.output


def test_show_and_report_take_a_grid(run: Run, tmp_path: Path) -> None:
    store = scan(run, tmp_path / "scan.zarr", rigidities=(1.0,), radii=(0.9, 0.4), trees=4)
    shown = CliRunner().invoke(main, ["show", str(store)])
    lines = shown.stdout.splitlines()
    assert (shown.exit_code, len(lines)) == (0, 3)
    assert [line.split()[:2] for line in lines[1:]] == [["1", "0.400"], ["1", "0.900"]]
    assert '"djservice_grid": 3' in CliRunner().invoke(main, ["show", str(store), "--json"]).stdout
    drawn = CliRunner().invoke(main, ["report", str(store)])
    assert (drawn.exit_code, drawn.stdout.count("wrote ")) == (0, 2)
    assert CliRunner().invoke(main, ["report", str(store), "--output", "x.html"]).exit_code == 2
