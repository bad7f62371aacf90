"""Infrared and collinear safety: what is emitted, what is told apart, and verdicts that are known."""

import json
import math
import re
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
from brute_force import to_batch
from click.testing import CliRunner
from every_tree import enumerate_trees

import djservice as dj
from djservice.analysis.emission_sums import with_emission
from djservice.analysis.safety import IrcCheck, Safety
from djservice.cli import main
from djservice.clustering.cluster import cluster, replay
from djservice.errors import InputError
from djservice.events.emissions import KINDS, emitted

MASS = dj.observables.dijet_mass
TINY = np.array([[60.0, 0.0, 0.0, 5.0], [40.0, 0.5, 2.6, 0.1], [20.0, -0.8, -1.0, 0.0]])


@pytest.fixture(scope="module")
def events() -> dj.EventBatch:
    schema = dj.schemas.nanoaod(pt_min=3.0)
    return dj.read("example:ZHllbb_200", schema=schema, entries=(0, 30))


def case(check: IrcCheck, clustering: str, emission: str, quantity: str = "loss") -> Safety:
    (found,) = (
        each
        for each in check.results
        if (each.clustering, each.emission, each.quantity) == (clustering, emission, quantity)
    )
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_one_particle_is_added_beside_its_mother(kind: Any, events: dj.EventBatch) -> None:
    epsilon = 1e-3
    after = emitted(events, kind, epsilon, seed=2)
    np.testing.assert_array_equal(after.events.counts, events.counts + 1)
    new = after.events.offsets[1:] - 1
    mother = after.events.offsets[:-1] + after.mother
    before = events.offsets[:-1] + after.mother
    apart = np.hypot(
        after.events.rapidity[new] - after.events.rapidity[mother],
        np.remainder(after.events.phi[new] - after.events.phi[mother] + np.pi, 2 * np.pi) - np.pi,
    )
    if kind == "infrared":
        hardest = np.maximum.reduceat(events.pt, events.offsets[:-1])
        np.testing.assert_allclose(after.events.pt[new], epsilon * hardest, rtol=1e-15)
        assert (
            apart.max() < 0.4 and np.delete(after.events.pt, new).tobytes() == events.pt.tobytes()
        )
    else:
        np.testing.assert_allclose(apart, epsilon, rtol=1e-9)
        for name in ("pt", "mass"):
            pair = getattr(after.events, name)[new] + getattr(after.events, name)[mother]
            np.testing.assert_allclose(pair, getattr(events, name)[before], rtol=1e-14)
    part, other = emitted(events.select([7]), kind, epsilon, 2), emitted(events, kind, 0.1, 2)
    assert part.events.pt[-1] == after.events.pt[new[7]]  # whatever events are beside it
    np.testing.assert_array_equal(other.mother, after.mother)  # whatever epsilon is


def test_a_history_with_an_emission_has_the_jets_of_before(events: dj.EventBatch) -> None:
    few, settings = events.select(range(5)), {"radius": 0.7, "rigidity": 1.0}
    before = cluster(few, trees=4, history=True, **settings)
    assert before.history is not None
    after = emitted(few, "collinear", 1e-9, seed=1)
    history = with_emission(before.history, few.offsets, after.mother, 4)
    again = replay(after.events, history, **settings)
    np.testing.assert_array_equal(again.n_jets, before.n_jets)
    np.testing.assert_allclose(again.momenta, before.momenta, rtol=1e-9, atol=1e-7)


def test_events_without_particles_stay() -> None:
    empty = dj.EventBatch.from_arrays(
        pt=[20.0, 30.0], rapidity=[0, 1], phi=[0, 2], mass=[0, 0], offsets=[0, 0, 2, 2]
    )
    for kind in KINDS:
        after = emitted(empty, kind, 0.1, 0)
        assert (
            after.events.counts.tolist() == [0, 3, 0] and after.mother[[0, 2]].tolist() == [-1] * 2
        )
    check = dj.check_irc(empty, MASS, radius=0.4, trees=2)
    assert check.events == 3 and len(check.results) == 8


def test_the_deterministic_mass_is_safe_and_changes_with_the_emission(
    events: dj.EventBatch,
) -> None:
    loss = dj.SquaredErrorOfMean(MASS, target=110.0, scale=110.0)
    check = dj.check_irc(events, loss, radius=0.7, trees=3)
    for emission in KINDS:
        for quantity in ("loss", "dijet_mass"):
            found = case(check, "deterministic", emission, quantity)
            assert found.safe, found.verdict
            assert abs(found.changes[-1].total.value) < 1e-3
            for change in found.changes:
                parts = change.fixed_jets.value + change.jets.value
                assert change.total.value == pytest.approx(parts, rel=1e-9, abs=1e-12)
    # At fixed jets the soft particle adds in proportion to its pT.
    soft = case(check, "deterministic", "infrared", "dijet_mass").changes
    ratio = soft[-2].fixed_jets.value / soft[-1].fixed_jets.value
    assert ratio == pytest.approx(10.0, rel=1e-3)


def test_the_number_of_constituents_is_unsafe_at_fixed_jets(events: dj.EventBatch) -> None:
    number = dj.observable(constituents="all")(
        lambda jets, particles: particles.mask.sum(axis=-1).astype(float)
    )
    check = dj.check_irc(events, number, radius=0.7, trees=20)
    for clustering in ("deterministic", "stochastic"):
        found = case(check, clustering, "infrared")
        assert found.safe is False
        assert "unsafe: a plateau of" in found.verdict and "at fixed jets" in found.verdict
    # One more in the jets whose particle is the mother.
    after, before = (
        emitted(events, "infrared", 1e-5, 0),
        cluster(events, radius=0.7, rigidity=math.inf, jets=1, constituents=True),
    )
    members = [each.index[0, 0] for each in before.constituents]
    inside = sum(m in set(index) for m, index in zip(after.mother.tolist(), members, strict=True))
    total = sum(int((index >= 0).sum()) for index in members)
    change = case(check, "deterministic", "infrared").changes[-1]
    assert change.fixed_jets.value == pytest.approx(inside / total, rel=1e-12)


@pytest.mark.parametrize("scale", ("minimum", "safe"))
def test_the_change_of_the_jets_is_that_of_all_merge_sequences(scale: Any) -> None:
    """Of one event whose trees are all enumerated, at a rigidity where only one scale is safe."""
    event, settings = to_batch([TINY]), {"radius": 0.7, "rigidity": 0.3, "scale": scale}

    def exact(particles: Any) -> float:
        batch = to_batch([particles])
        trees = replay(batch, np.array(list(enumerate_trees(particles))), **settings)
        value = MASS(trees.jets)[0]
        seen, weight = np.isfinite(value), np.exp(trees.log_prob[0])
        return float(weight[seen] @ value[seen] / weight[seen].sum())

    after = emitted(event, "infrared", 1e-5, 0).events
    columns = (after.pt, after.rapidity, after.phi, after.mass)
    shift = exact(np.stack(columns, axis=1)) / exact(TINY) - 1.0
    check = dj.check_irc(event, MASS, trees=10_000, epsilons=(1e-2, 1e-4, 1e-5), **settings)
    found = case(check, "stochastic", "infrared")
    jets = found.changes[-1].total
    assert abs(jets.value - shift) < 4 * jets.tree_error
    assert abs(shift) > 8 * jets.tree_error if scale == "minimum" else abs(shift) < 1e-4
    assert found.safe is (scale == "safe"), found.verdict
    if scale == "minimum":
        assert found.verdict.endswith("by a change of the jets")
    assert case(check, "deterministic", "infrared").safe


@pytest.mark.parametrize(
    ("epsilons", "message"),
    [
        ((0.1, 0.01), "epsilons is [0.1, 0.01], expected three or more different numbers"),
        ((0.1, 0.1, 0.01, 0.001), "expected three or more different numbers"),
        ((1.0, 0.1, 0.01), "above 0 and below 1"),
    ],
)
def test_sizes_without_meaning_are_refused(
    epsilons: Any, message: str, events: dj.EventBatch
) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        dj.check_irc(events, MASS, radius=0.7, epsilons=epsilons)


@pytest.mark.parametrize(
    ("objective", "changes", "message"),
    [
        (dj.SquaredErrorOfMean(MASS, target=90.0), {"trees": 1}, "trees is 1, expected 2 or more"),
        (MASS, {"rigidity": [1.0, 2.0]}, "rigidity has shape"),
        (dj.Robust(dj.Width(MASS), [dj.augment.Smear()]), {}, "expected a loss or an observable"),
    ],
)
def test_what_has_no_meaning_is_refused(
    objective: Any, changes: dict[str, Any], message: str, events: dj.EventBatch
) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        dj.check_irc(events, objective, radius=0.7, **changes)


def test_particles_are_taken_in_any_form(events: dj.EventBatch) -> None:
    few, settings = events[:3], {"radius": 0.7, "trees": 2, "epsilons": (0.1, 0.01, 0.001)}
    counts = np.diff(few.offsets)
    records = ak.zip(
        {
            name: ak.unflatten(getattr(few, name), counts)
            for name in ("pt", "rapidity", "phi", "mass")
        }
    )
    identity = few.run, few.luminosity_block, few.event
    check = dj.check_irc(records, MASS, identity=identity, **settings)
    assert check.to_dict() == dj.check_irc(few, MASS, **settings).to_dict()


def test_the_command_is_the_librarys_own(
    tiny: dict[str, Any], scheduler: str, tmp_path: Path
) -> None:
    config, output = tmp_path / "run.yaml", tmp_path / "check.json"
    config.write_text(json.dumps(tiny))
    command = ["check-irc", str(config), "--scheduler", scheduler, "--output", str(output)]
    command += ["--epsilon", "0.1", "--epsilon", "0.01", "--epsilon", "0.001"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    for words in ("deterministic, infrared, loss: ", "at fixed jets", "stochastic, collinear"):
        assert words in done.output
    assert {file.suffix for file in tmp_path.glob("check.*")} == {".json", ".png", ".svg"}
    run = dj.Run.from_yaml(config)
    events = dj.read("example:ZHllbb_200", schema=dj.schemas.nanoaod(pt_min=2.0), entries=(0, 40))
    loss = dj.SquaredError(MASS, target=125.0, scale=125.0)
    loss = loss.where(dj.cuts.two_jets(pt_min=20.0) & dj.cuts.mass_below(250.0))
    own = dj.check_irc(
        events, loss, radius=1.0, trees=run.scan.trees, seed=run.seed, epsilons=(0.1, 0.01, 0.001)
    )
    written = json.loads(output.read_text())
    assert written["events"] == 40
    for found, expected in zip(written["results"], own.to_dict()["results"], strict=True):
        assert found["verdict"].split(":")[0] == expected["verdict"].split(":")[0]
        for one, other in zip(found["changes"], expected["changes"], strict=True):
            assert one["total"]["value"] == pytest.approx(
                other["total"]["value"], rel=1e-6, abs=1e-9
            )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--output", "notes.txt"],
            "notes.txt: expected no file or an earlier check, found another",
        ),
        (["--output", "absent/irc.json"], "there is no folder absent"),
        (["--epsilon", "0.1"], "epsilons is [0.1], expected three or more"),
        (["--radius", "-1"], "radius: expected a positive number"),
        (["--rigidity", "nan"], "rigidity: expected a positive number"),
    ],
)
def test_wrong_options_end_the_command_before_anything_is_read(
    tiny: dict[str, Any],
    options: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run.yaml").write_text(json.dumps(tiny))
    Path("notes.txt").write_text("mine")
    done = CliRunner().invoke(main, ["check-irc", "run.yaml", *options])
    assert done.exit_code in (1, 2) and message in done.output, done.output
    assert Path("notes.txt").read_text() == "mine" and not list(tmp_path.glob("irc.*"))
