"""What may change the last bits, and what goes wrong on workers: one clear line on the driver, exit code 1."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
import yaml

import djservice as dj
from djservice import examples
from djservice.config.run import Run
from djservice.errors import ConfigError, InputError, MissingFileError, RunError
from djservice.reports.html import report
from djservice.store.run_store import TIMINGS, Store

Settings = dict[str, Any]


@pytest.fixture
def do(tiny: Settings, scheduler: str, tmp_path: Path) -> Callable[..., Path]:
    """Do the tiny run with sections changed; returns its store."""

    def run(name: str = "tiny.zarr", **sections: Settings) -> Path:
        merged = {key: {**tiny.get(key, {}), **value} for key, value in sections.items()}
        place = {"output": {"store": str(tmp_path / name)}, "cluster": {"scheduler": scheduler}}
        return dj.run(Run.from_dict({**tiny, **merged, **place})).store

    return run


def events_file(path: Path, first: int, last: int, **particles: Callable[[Any], Any]) -> str:
    """Entries of the example file, with fields of the particles changed."""
    with uproot.open({examples.path("ZHllbb_200"): "Events"}) as tree:
        fields = ("pt", "eta", "phi", "mass")
        arrays = tree.arrays(
            ["run", "luminosityBlock", "event", *(f"PFCands_{f}" for f in fields)],
            entry_start=first,
            entry_stop=last,
        )
    pfcands = ak.zip(
        {field: particles.get(field, lambda x: x)(arrays[f"PFCands_{field}"]) for field in fields}
    )
    columns = {name: arrays[name].to_numpy() for name in ("run", "luminosityBlock", "event")}
    with uproot.recreate(path) as file:
        types = {name: column.dtype for name, column in columns.items()} | {
            "PFCands": pfcands.type.content
        }
        file.mktree("Events", types).extend({**columns, "PFCands": pfcands})
    return str(path)


def assert_close(one: Path, other: Path, groups: tuple[str, ...] = ()) -> None:
    """All numbers agree to rounding; event by event as sets, for the order of the events may differ."""
    a, b = Store.read(one), Store.read(other)
    order = [np.argsort(store.array("spectrum", "key")) for store in (a, b)]
    for group in groups or a.groups:
        for name, _ in a.root[group].arrays():
            if name in (*TIMINGS, "file"):  # files are numbered in their order
                continue
            left, right = a.array(group, name), b.array(group, name)
            if "event" in (a.root[f"{group}/{name}"].metadata.dimension_names or ()):
                left, right = left[..., order[0]], right[..., order[1]]
            np.testing.assert_allclose(left, right, rtol=1e-9, err_msg=f"{group}/{name}")


def test_the_size_of_bundles_changes_rounding_and_trees_of_newton_steps_only(
    do: Callable[..., Path], finished_run: Path
) -> None:
    """Bundles of 7 events against those of 10. The spread of an event follows the loss of its bundle."""
    assert_close(do(input={"bundle_events": 7}), finished_run, ("history", "scan"))


def test_the_order_of_files_changes_rounding_only(do: Callable[..., Path], tmp_path: Path) -> None:
    files = [events_file(tmp_path / f"{first}.root", first, first + 20) for first in (0, 20)]
    one = do("a.zarr", input={"files": files, "weight": None})
    assert_close(one, do("b.zarr", input={"files": files[::-1], "weight": None}))


def test_a_missing_file(do: Callable[..., Path]) -> None:
    with pytest.raises(MissingFileError, match=r"gone\.root: there is no such file"):
        do(input={"files": "gone.root"})


def test_a_particle_that_is_not_a_number(do: Callable[..., Path], tmp_path: Path) -> None:
    def spoil(pt: Any) -> Any:
        flat = ak.to_numpy(ak.flatten(pt)).copy()
        flat[int(ak.num(pt)[0])] = np.nan
        return ak.unflatten(flat, ak.num(pt))

    path = events_file(tmp_path / "nan.root", 0, 40, pt=spoil)
    with pytest.raises(InputError, match=r"(?s)nan\.root.*entry 1\b.*nan"):
        do(input={"files": path, "weight": None})


def test_a_selection_that_nothing_passes_names_where(do: Callable[..., Path]) -> None:
    with pytest.raises(
        RunError, match=r"iteration 0 at R = 1\.0000: no tree passed the selection in 16 events"
    ):
        do(loss={"cuts": [{"name": "mass_above", "minimum": 1e5}]})
    do()  # nothing was done yet, so the mended run takes the store's place


def test_what_speaks_against_a_result_is_said(do: Callable[..., Path]) -> None:
    """Few iterations from far off, within narrow bounds and with a tolerance that they cannot reach."""
    path = do(
        radius={"start": 1.9, "minimum": 1.89, "maximum": 2.0},
        optimiser={"tolerance": 1e-9, "batch_events": 500},
    )
    remarks = " ".join(Store.read(path).attributes["result"]["remarks"])
    for text in (
        "at a bound",
        "did not stand still to the tolerance of 1e-09",
        "batches hold all 40 events",
    ):
        assert text in remarks
    with pytest.raises(ConfigError, match=r"scan: expected radii that differ"):
        do("b.zarr", scan={"radii": [0.4, 0.4, 0.7, 1.0]})


def test_a_scan_radius_that_nothing_passes_is_left_empty(
    do: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    radii = {"radii": [0.001, 0.6, 0.8, 1.0, 1.2]}
    store = Store.read(do(loss={"cuts": [{"name": "mass_above", "minimum": 110.0}]}, scan=radii))
    assert "scan at R = 0.0010: no tree passed the selection" in capsys.readouterr().err
    assert np.isnan(store.column("scan", "loss")).tolist() == [True, False, False, False, False]
    assert store.column("scan", "acceptance")[0] == 0.0
    assert np.isfinite(store.attributes["result"]["curvature"])
    report(store.path)


def wrong_shape() -> Any:
    @dj.observable(units="GeV")
    def flat(jets: Any) -> Any:
        return jets.mass[..., 0].ravel()

    return flat


def raising() -> Any:
    @dj.observable(units="GeV")
    def bad(jets: Any) -> Any:
        raise ZeroDivisionError("nothing to\nshare")

    return bad


def huge() -> Any:
    @dj.observable(units="GeV")
    def large(jets: Any) -> Any:
        return np.full(jets.shape[:-1], 1e200)

    return large


def test_an_observable_of_the_wrong_shape(do: Callable[..., Path]) -> None:
    with pytest.raises(
        InputError, match=r"observable 'flat' returned shape \(\d+,\), expected \(\d+, 4\)"
    ):
        do(loss={"observable": wrong_shape()})


def test_an_observable_that_fails(do: Callable[..., Path]) -> None:
    with pytest.raises(
        InputError,
        match=r"iteration 0 .*observable 'bad', line \d+ of \w+\.py: ZeroDivisionError: nothing to share\. ",
    ):
        do(loss={"observable": raising()})


@pytest.mark.filterwarnings("ignore:overflow encountered", "ignore:invalid value encountered")
def test_a_gradient_that_is_not_finite_names_iteration_and_events(do: Callable[..., Path]) -> None:
    with pytest.raises(
        RunError,
        match=r"iteration 0 at R = 1\.0000: the gradient is not finite in \d+ events: .*ZHllbb",
    ):
        do(loss={"observable": huge(), "cuts": []})


def test_what_is_wrong_without_a_cluster_is_found_before_one_is_asked_for(tiny: Settings) -> None:
    nowhere = {"cluster": {"scheduler": "tcp://127.0.0.1:1"}}
    with pytest.raises(
        ConfigError,
        match=r"loss\[0\]\.observable: unknown name 'dijet_mas' \(did you mean 'dijet_mass'",
    ):
        dj.run(Run.from_dict({**tiny, **nowhere, "loss": {"observable": "dijet_mas"}}))
    with pytest.raises(MissingFileError):
        dj.run(Run.from_dict({**tiny, **nowhere, "input": {"files": "gone.root"}}))


def test_one_event_is_enough(do: Callable[..., Path]) -> None:
    store = Store.read(do(input={"entries": [0, 1]}))
    assert store.attributes["status"] == "finished"
    assert np.isnan(store.attributes["result"]["radius_error"])
    assert "not determined" in dj.report(store.path).read_text()


@pytest.mark.parametrize(
    "own_worker", [False, pytest.param(True, marks=pytest.mark.long)], ids=["scheduler", "own"]
)
def test_an_error_on_a_worker_is_one_line_and_exit_code_1(
    own_worker: bool, tiny: Settings, scheduler: str, tmp_path: Path
) -> None:
    config = tmp_path / "run.yaml"
    cluster = {"workers": 1} if own_worker else {"scheduler": scheduler}
    config.write_text(yaml.safe_dump(tiny | {"cluster": cluster}))
    command = [
        Path(sys.executable).parent / "djservice",
        "run",
        config,
        "--set",
        "input.tree=Event",
    ]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (ended.returncode, ended.stdout) == (1, "")
    *before, error = ended.stderr.splitlines()  # found before anything is compiled
    said = ("waiting for", "dashboard: ")  # where the machine is busy, and of a scheduler
    assert all(any(text in line for text in said) for line in before), before
    assert error.startswith("djservice: SchemaError: ")
    assert "expected a tree 'Event', found 'Events'" in error
