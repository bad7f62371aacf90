"""Augmentations: what they do, draws that depend on the event and nothing else, and refusals."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import djservice as dj
from djservice.config.run import Run
from djservice.errors import ConfigError, InputError
from djservice.events.augment import (
    AUGMENTATIONS,
    Augmentation,
    Collinear,
    Drop,
    Rotate,
    Scale,
    Smear,
    Soft,
    Translate,
    augmented,
)
from djservice.events.batch import EventBatch
from djservice.events.quarks import GeneratedQuarks
from djservice.fit.plan import RunPlan
from djservice.store.run_store import Store

ALL = [Rotate(), Translate(), Collinear(0.4), Soft(3, law="near"), Smear(), Drop(0.3, 5.0), Scale()]


@pytest.fixture(scope="module")
def events() -> EventBatch:
    return dj.read("example:ZHllbb_200", schema=dj.schemas.nanoaod(pt_min=0.5, quarks=True))


def columns(events: EventBatch) -> list[Any]:
    return [events.pt, events.rapidity, events.phi, events.mass, events.offsets, events.key]


def momenta(events: EventBatch | GeneratedQuarks) -> Any:
    """px, py, pz and E of each particle."""
    transverse = np.hypot(events.pt, events.mass)
    return np.stack(
        [
            events.pt * np.cos(events.phi),
            events.pt * np.sin(events.phi),
            transverse * np.sinh(events.rapidity),
            transverse * np.cosh(events.rapidity),
        ]
    )


def sums(values: Any, events: EventBatch) -> Any:
    return np.add.reduceat(values, events.offsets[:-1], axis=-1)


def z_score(values: Any, expected: float) -> float:
    return float((np.mean(values) - expected) / (np.std(values) / np.sqrt(len(values))))


@pytest.mark.parametrize("change", ALL, ids=lambda change: change.name)
def test_draws_depend_on_the_event_the_seed_and_the_replica_only(
    events: EventBatch, change: Augmentation
) -> None:
    whole, rows = change(events, seed=3, replica=1), [150, 3, 77]
    for part in (change(events.select(rows), seed=3, replica=1), whole.select(rows)):
        for found, expected in zip(columns(part), columns(whole.select(rows)), strict=True):
            np.testing.assert_array_equal(found, expected)
    assert np.abs(whole.phi).max() <= np.pi
    if change.name != "scale":
        for other in (change(events, seed=4, replica=1), change(events, seed=3)):
            same = [
                np.array_equal(*pair) for pair in zip(columns(other), columns(whole), strict=True)
            ]
            assert not all(same)


def test_each_of_a_chain_has_draws_of_its_own(events: EventBatch) -> None:
    once, twice = (augmented(events, [Drop(0.5)] * n, seed=1) for n in (1, 2))
    left, lost = len(twice.pt), len(once.pt) - len(twice.pt)
    assert abs(left - lost) / np.sqrt(len(once.pt)) < 4  # the same draws would lose nothing


def test_a_rotation_and_a_boost_are_those(events: EventBatch) -> None:
    moved = augmented(events, [Rotate(0.3), Translate(0.4)])
    assert events.quarks is not None and moved.quarks is not None
    for before, after in ((events, moved), (events.quarks, moved.quarks)):
        px, py, pz, energy = momenta(before)
        rotated = [px * np.cos(0.3) - py * np.sin(0.3), px * np.sin(0.3) + py * np.cos(0.3)]
        boosted = [
            pz * np.cosh(0.4) + energy * np.sinh(0.4),
            energy * np.cosh(0.4) + pz * np.sinh(0.4),
        ]
        np.testing.assert_allclose(momenta(after), [*rotated, *boosted], rtol=1e-11, atol=1e-9)


def test_quarks_move_with_symmetries_and_stay_otherwise(events: EventBatch) -> None:
    """A random rotation and boost is that of the particles; an effect of a detector is none of theirs."""
    before, first = events.quarks, events.offsets[:-1]
    assert before is not None
    for augmentation in ALL:
        changed = augmentation(events, seed=3)
        assert changed.quarks is not None
        if isinstance(augmentation, Rotate | Translate):
            name = "phi" if isinstance(augmentation, Rotate) else "rapidity"
            step = (getattr(changed, name) - getattr(events, name))[first]
            of_quarks = getattr(changed.quarks, name) - getattr(before, name)
            turn = np.remainder(of_quarks - step[before.event] + np.pi, 2 * np.pi) - np.pi
            np.testing.assert_allclose(turn, 0.0, atol=1e-12)
        else:
            assert changed.quarks is before


def test_random_angles_and_boosts_fill_their_ranges(events: EventBatch) -> None:
    first = events.offsets[:-1]
    boost = (Translate(width=2.0)(events).rapidity - events.rapidity)[first]
    assert abs(z_score(boost, 0.0)) < 4 and abs(z_score(boost**2, 4.0 / 3.0)) < 4
    turn = (Rotate()(events).phi - events.phi)[first]
    assert abs(z_score(np.cos(turn), 0.0)) < 4 and abs(z_score(np.sin(turn) ** 2, 0.5)) < 4


@pytest.mark.parametrize(
    ("law", "mean"),
    [
        ("uniform", 0.5),
        # The integrals of (z + z^3) / (1 - z) and (1 + z^2) / (1 - z) up to 0.999.
        ("altarelli-parisi", 10.985177 / 12.317510),
    ],
)
def test_splittings_keep_the_momentum_and_follow_their_law(
    events: EventBatch, law: Any, mean: float
) -> None:
    split = Collinear(1.0, law)(events)
    first, second = split.pt[::2], split.pt[1::2]
    np.testing.assert_allclose(first + second, events.pt, rtol=1e-14)
    for name in ("rapidity", "phi"):
        np.testing.assert_array_equal(getattr(split, name), np.repeat(getattr(events, name), 2))
    np.testing.assert_allclose(
        sums(momenta(split), split), sums(momenta(events), events), rtol=1e-11, atol=1e-9
    )
    assert abs(z_score(first / events.pt, mean)) < 4
    number = len(Collinear(0.3)(events).pt) - len(events.pt)
    assert abs(number - 0.3 * len(events.pt)) < 4 * np.sqrt(0.21 * len(events.pt))


def test_pieces_at_an_angle_keep_their_centre(events: EventBatch) -> None:
    split = Collinear(angle=1e-3)(events)
    apart = np.stack([np.diff(a.reshape(-1, 2)) for a in (split.rapidity, split.phi)])
    inside = np.abs(apart[1]) < 3.0  # not across the cut of phi
    np.testing.assert_allclose(np.hypot(*apart)[inside], 1e-3, rtol=1e-9)
    centre = sums((split.pt * split.rapidity)[None], split) / sums(split.pt[None], split)
    before = sums((events.pt * events.rapidity)[None], events) / sums(events.pt[None], events)
    np.testing.assert_allclose(centre, before, atol=1e-12)


def test_soft_particles_are_added_where_they_should_be(events: EventBatch) -> None:
    soft = Soft(4, 0.1, rapidity_max=2.0)(events)
    np.testing.assert_array_equal(soft.counts, events.counts + 4)
    new = np.concatenate([np.arange(last - 4, last) for last in soft.offsets[1:]])
    np.testing.assert_array_equal(np.delete(soft.pt, new), events.pt)
    assert abs(z_score(soft.pt[new], 0.05)) < 4 and soft.pt[new].max() < 0.1
    assert abs(z_score(soft.rapidity[new] ** 2, 4.0 / 3.0)) < 4

    hard = events.select(range(50))
    near = Soft(8, 0.1, law="near", distance=0.1)(hard)
    for event in range(50):
        old, new = (
            slice(near.offsets[event], near.offsets[event + 1] - 8),
            slice(near.offsets[event + 1] - 8, near.offsets[event + 1]),
        )
        phi = near.phi[new, None] - near.phi[None, old]
        phi = np.remainder(phi + np.pi, 2 * np.pi) - np.pi
        away = np.hypot(near.rapidity[new, None] - near.rapidity[None, old], phi)
        assert away.min(axis=1).max() <= 0.1


def test_near_soft_particles_choose_in_proportion_to_pt() -> None:
    event = EventBatch.from_arrays(
        pt=[30.0, 10.0], rapidity=[-1.0, 1.0], phi=[0.0, 0.0], mass=[0.0, 0.0], offsets=[0, 2]
    )
    soft = Soft(4000, law="near", distance=0.1)(event)
    assert abs(z_score(soft.rapidity[2:] < 0.0, 0.75)) < 4


def test_smearing_is_that_of_a_soft_scale(events: EventBatch) -> None:
    moved = Smear(0.01, pt_min=1.0)(events)
    np.testing.assert_array_equal(moved.pt, events.pt)
    pull = (moved.rapidity - events.rapidity) * np.maximum(events.pt, 1.0) / 0.01
    assert abs(z_score(pull, 0.0)) < 4 and abs(z_score(pull**2, 1.0)) < 4
    assert abs(z_score(pull**4, 3.0)) < 4


def test_losses_and_scales(events: EventBatch) -> None:
    kept = Drop(0.25, below=2.0)(events)
    soft = int((events.pt < 2.0).sum())
    assert (kept.pt >= 2.0).sum() == len(events.pt) - soft
    assert abs((kept.pt < 2.0).sum() - 0.75 * soft) < 4 * np.sqrt(0.1875 * soft)
    assert Drop(1.0)(events).counts.max() == 0 and len(Drop(1.0)(events)) == 200
    np.testing.assert_array_equal(Soft(law="near")(Drop(1.0)(events)).counts, 0)
    np.testing.assert_allclose(momenta(Scale(0.9)(events)), 0.9 * momenta(events), rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Rotate(float("nan")), "angle is nan, expected a number from -100 to 100"),
        (lambda: Translate(width=-1.0), "width is -1.0, expected"),
        (lambda: Collinear(1.5), "fraction is 1.5, expected a number from 0 to 1"),
        (lambda: Collinear(law="qcd"), "law is 'qcd', expected 'uniform' or 'altarelli-parisi'"),
        (lambda: Soft(1.5), "number is 1.5, expected a whole number from 1 to 10000"),
        (lambda: Soft(pt_max=0.0), "pt_max is 0.0, expected"),
        (lambda: Drop(True), "probability is True, expected a number from 0 to 1"),
        (lambda: Scale(0.0), "factor is 0.0, expected a number from 0.001 to 1000"),
    ],
)
def test_numbers_without_meaning_are_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        make()


def test_too_many_particles_are_refused(events: EventBatch) -> None:
    with pytest.raises(InputError, match=r"entry \d+.* particles, expected 32768 at most"):
        augmented(events.select([0]), [Soft(10_000)] * 4)
    with pytest.raises(InputError, match="replica is -1, expected"):
        Rotate()(events, replica=-1)


def test_a_run_augments_its_events(
    tiny: dict[str, Any],
    scheduler: str,
    stored: Callable[[Any], dict[str, bytes]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = tiny | {"cluster": {"scheduler": scheduler}}
    settings["optimiser"] = settings["optimiser"] | {"iterations": 2}
    settings["input"] = settings["input"] | {"entries": [0, 20]}
    stores = []
    for name, more in (
        ("plain", {}),
        ("augmented", {"augment": ["rotate", {"name": "soft", "number": 5}]}),
        ("in other bundles", {"augment": ["rotate", {"name": "soft", "number": 5}]}),
    ):
        section = settings["input"] | more
        if name == "in other bundles":
            section |= {"bundle_events": 20}
        output = {"store": tiny["output"]["store"].replace("tiny", name)}
        stores.append(dj.run(Run.from_dict(settings | {"input": section, "output": output})).store)
    said = capsys.readouterr().err
    assert said.count("augmented: Rotate(angle=None), Soft(number=5") == 2
    loss = [Store.read(store).column("history", "loss") for store in stores]
    assert loss[0][0] != loss[1][0]
    np.testing.assert_allclose(loss[1], loss[2], rtol=1e-12)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("rotat", "input.augment[0]: unknown name 'rotat' (did you mean 'rotate'?"),
        ({"name": "soft", "pt": 1.0}, "input.augment[0]: soft has no parameter 'pt'"),
        ({"name": "drop", "probability": 2}, "probability is 2, expected a number from 0 to 1"),
    ],
)
def test_wrong_augmentations_of_a_configuration_are_refused(
    tiny: dict[str, Any], value: Any, message: str
) -> None:
    run = Run.from_dict(tiny | {"input": tiny["input"] | {"augment": [value]}})
    with pytest.raises(ConfigError, match=re.escape(message)):
        RunPlan(run).check()


def test_all_can_be_named() -> None:
    assert sorted(AUGMENTATIONS) == sorted(change.name for change in ALL)


@pytest.mark.parametrize("augmentation", ALL, ids=lambda each: each.name)
def test_fields_of_particles_follow_their_particles(
    augmentation: Augmentation, events: EventBatch
) -> None:
    few = events.select(range(5))
    tagged = replace(few, columns={"number": 1.0 + np.arange(len(few.pt))})
    changed = augmented(tagged, [augmentation], seed=3)
    number = changed.columns["number"]
    assert len(number) == len(changed.pt)
    own = number > 0  # added particles have 0
    if not isinstance(augmentation, Soft):
        assert own.all()
    if isinstance(augmentation, (Soft, Drop)):
        of_before = number[own].astype(int) - 1
        np.testing.assert_array_equal(changed.pt[own], few.pt[of_before])
