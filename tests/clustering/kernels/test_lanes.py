"""Lanes as vectors of the machine against lanes as arrays; and the exponential that is built on them."""

from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from brute_force import shipped_events

from djservice.clustering.cluster import cluster
from djservice.clustering.kernels import lanes
from djservice.clustering.kernels.candidates import smallest
from djservice.clustering.kernels.draw import choose, exponential, sum_weights, weighted_sum
from djservice.clustering.kernels.jit import entry
from djservice.clustering.kernels.lanes import reference as lanes_numpy
from djservice.clustering.kernels.workspace import allocate

INFINITE = [np.inf, -np.inf, 1e308, -0.0, 0.0, 5e-324, 1.0, -1.0]


@entry
def every_function(a, b, c, out):
    x, y, z = lanes.load(a, 1), lanes.load(b, 0), lanes.load(c, 3)
    lanes.store(out, 0, x + y)
    lanes.store(out, 8, x - y)
    lanes.store(out, 16, x * y)
    lanes.store(out, 24, lanes.least(x, y))
    lanes.store(out, 32, lanes.absolute(x))
    lanes.store(out, 40, lanes.where_below(x, y, z, x))
    lanes.store(out, 48, lanes.fill(b[2]))
    return lanes.below(x, y), lanes.smallest_lane(x), lanes.total(x)


def by_arrays(a, b, c, out):
    x, y, z = lanes_numpy.load(a, 1), lanes_numpy.load(b, 0), lanes_numpy.load(c, 3)
    with np.errstate(invalid="ignore", over="ignore"):
        for at, values in enumerate(
            (
                x + y,
                x - y,
                x * y,
                lanes_numpy.least(x, y),
                lanes_numpy.absolute(x),
                lanes_numpy.where_below(x, y, z, x),
            )
        ):
            lanes_numpy.store(out, 8 * at, values)
        lanes_numpy.store(out, 48, lanes_numpy.fill(b[2]))
        return lanes_numpy.below(x, y), lanes_numpy.smallest_lane(x), lanes_numpy.total(x)


@pytest.mark.parametrize("seed", range(20))
def test_vectors_and_arrays_have_the_same_bits(seed: int) -> None:
    random = np.random.default_rng(seed)
    a, b, c = random.normal(size=(3, 16)) * 10.0 ** random.integers(-200, 200, (3, 16))
    if seed % 2:
        a[random.integers(0, 16, 4)] = random.choice(INFINITE[2:], 4)
        b[random.integers(0, 16, 4)] = random.choice(INFINITE, 4)
    one, two = np.zeros(56), np.zeros(56)
    assert every_function(a, b, c, one) == by_arrays(a, b, c, two)
    np.testing.assert_array_equal(one.view(np.int64), two.view(np.int64))


@entry
def fused(a, b, c, out):
    lanes.store(out, 0, lanes.fma(lanes.load(a, 0), lanes.load(b, 0), lanes.load(c, 0)))


def test_fma_rounds_once() -> None:
    tiny = 2.0**-52
    a, out = np.full(8, 1.0 + tiny), np.zeros(8)
    fused(a, np.full(8, 1.0 - tiny), np.full(8, -1.0), out)
    assert (out == -(tiny**2)).all()
    assert (lanes_numpy.fma(a, np.full(8, 1.0 - tiny), np.full(8, -1.0)) == 0.0).all()  # twice


@entry
def masks(owner, other, at, a, b):
    mask = lanes.holds(owner, other, at, a, b)
    return (
        mask,
        lanes.lowest(mask) if mask else -1,
        lanes.bit_count(mask),
        lanes.bits_below(mask, b % 32),
    )


@pytest.mark.parametrize("seed", range(10))
def test_masks_of_ids(seed: int) -> None:
    random = np.random.default_rng(seed)
    owner, other = random.integers(0, 65536, (2, 64)).astype(np.uint16)
    for a, b in ((owner[5], other[20]), (owner[33], owner[33]), (65535, 0)):
        mask, low, set_bits, below = masks(owner, other, 3, int(a), int(b))
        assert mask == lanes_numpy.holds(owner, other, 3, int(a), int(b))
        assert low == (lanes_numpy.lowest(mask) if mask else -1)
        assert set_bits == mask.bit_count() == lanes_numpy.bit_count(mask)
        assert (
            below
            == f"{mask:032b}"[32 - int(b) % 32 :].count("1")
            == lanes_numpy.bits_below(mask, int(b) % 32)
        )


@entry
def stored(q, ids, a, mask):
    lanes.store_where(q, 3, lanes.load(a, 0), mask)
    lanes.store_where(ids, 5, lanes.load(a, 0), mask)
    return lanes.compresses()


def kept(a: np.ndarray, mask: int) -> tuple[np.ndarray, np.ndarray]:
    """What is stored of lanes, side by side, as float64 and as ids."""
    q, ids = np.zeros(16), np.zeros(16, np.uint16)
    stored(q, ids, a, mask)
    return q[3 : 3 + mask.bit_count()], ids[5 : 5 + mask.bit_count()]


def test_lanes_of_a_mask_are_stored_side_by_side() -> None:
    a = np.random.default_rng(1).integers(0, 65536, 8).astype(float)
    for mask in range(256):
        q, ids = np.zeros(16), np.zeros(16, np.uint16)
        lanes_numpy.store_where(q, 3, a, mask)
        lanes_numpy.store_where(ids, 5, a, mask)
        expected = [a[k] for k in range(8) if mask >> k & 1]
        for side_by_side in (*kept(a, mask), q[3:][: len(expected)], ids[5:][: len(expected)]):
            np.testing.assert_array_equal(side_by_side, expected)


@entry
def there_and_back(value):
    return lanes.float_of(lanes.bits_of(value))


@pytest.mark.parametrize("value", [0.0, -0.0, 1.5, -(2.0**-1074), np.inf])
def test_bits_of_a_number(value: float) -> None:
    bits = lanes_numpy.bits_of(value)
    assert (
        bits == np.float64(value).view(np.int64) and lanes_numpy.float_of(bits).hex() == value.hex()
    )
    assert there_and_back(value).hex() == value.hex()


@entry
def exponentials(x, out):
    for at in range(0, len(x), 8):
        lanes.store(out, at, exponential(lanes.load(x, at)))


def test_exponential_to_two_units_in_the_last_place() -> None:
    x = np.concatenate(
        [np.linspace(-700.0, 700.0, 80_000), np.linspace(-1.0, 1.0, 80_000), np.zeros(8)]
    )
    out = np.empty_like(x)
    exponentials(x, out)
    exact = np.exp(x)
    assert np.abs((out - exact) / np.spacing(exact)).max() <= 2.0
    assert (out[-8:] == 1.0).all()


@entry
def sums(options, count, scratch):
    norm = sum_weights(options.w, count, scratch)
    return smallest(options.q, count), norm, weighted_sum(options, count)


@entry
def choice(options, count, scratch, target):
    return choose(options.w, count, scratch, target)


@pytest.mark.parametrize("count", [1, 7, 8, 9, 15, 16, 17, 63, 64, 65, 127, 128, 200])
def test_sums_and_choices_of_a_list(count: int) -> None:
    random = np.random.default_rng(count)
    options, scratch = (work := allocate(300, 300, 1)).pairs, work.scratch
    options.q[:], options.w[:] = 1e308, 0.0
    options.q[:count] = random.exponential(size=count)
    options.w[:count] = np.where(random.random(count) < 0.3, 0.0, random.exponential(size=count))
    options.w[count // 2] = 1.0
    q, w = options.q[:count].copy(), options.w[:count].copy()
    least, norm, weighted = sums(options, count, scratch)
    assert least == q.min()
    assert norm == pytest.approx(math.fsum(w), rel=1e-14)
    assert weighted == pytest.approx(math.fsum(w * q), rel=1e-14)
    # Each option is chosen by a stretch of targets as long as its weight.
    edges = (np.arange(20_000) + 0.5) / 20_000 * norm
    chosen = np.array([choice(options, count, scratch, target) for target in edges])
    share = np.bincount(chosen, minlength=count) / len(edges) * norm
    np.testing.assert_allclose(share, w, atol=1.01 * norm / len(edges))
    # Where rounding leaves nothing, an option with a weight all the same.
    for target in (0.0, np.nextafter(norm, 0.0), norm, norm * (1 + 1e-15)):
        assert w[choice(options, count, scratch, target)] > 0.0


def bits_of_lanes() -> str:
    """Of everything above that is compiled: arithmetic, fused, exponentials, sums and choices."""
    random = np.random.default_rng(3)
    a, b, c = random.normal(size=(3, 16)) * 10.0 ** random.integers(-9, 9, (3, 16))
    out, x = np.zeros((3, 56)), np.linspace(-700.0, 700.0, 8_000)
    of_x = np.empty_like(x)
    results: list[Any] = [every_function(a, b, c, out[0]), out, of_x]
    ids = random.integers(0, 65536, 8).astype(float)
    results += [each for mask in range(256) for each in kept(ids, mask)]
    fused(a, b, c, out[1])
    exponentials(x, of_x)
    pairs, scratch = (work := allocate(300, 300, 1)).pairs, work.scratch
    pairs.q[:200], pairs.w[:200] = random.exponential(size=(2, 200))
    least, norm, weighted = sums(pairs, 200, scratch)
    results += [least, norm, weighted]
    results += [choice(pairs, 200, scratch, share * norm) for share in random.random(100)]
    return hashlib.sha256(b"".join(np.asarray(each).tobytes() for each in results)).hexdigest()


def bits_of_trees() -> str:
    """Of all that a kernel writes."""
    digest, events = hashlib.sha256(), shipped_events().select(range(20))
    for scale in ("minimum", "safe"):
        trees = cluster(
            events,
            radius=0.7,
            rigidity=1.0,
            trees=3,
            scale=scale,
            parameters=("radius", "rigidity"),
            states=True,
        )
        for array in (trees.momenta, trees.scores, trees.log_prob, trees.states.scores):
            digest.update(array.tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize(
    "bits", [bits_of_lanes, pytest.param(bits_of_trees, marks=pytest.mark.long)]
)
def test_the_same_bits_whatever_the_width_of_vectors(bits: Callable[[], str]) -> None:
    """Compiled for this processor, and for the plainest of its architecture. All kernels take a minute."""
    here = Path(__file__)
    script = f"import sys; sys.path[:0] = sys.argv[1:]; import {here.stem}; print({here.stem}.{bits.__name__}())"
    plainest = subprocess.run(
        [sys.executable, "-c", script, here.parent, here.parents[1]],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""},
        timeout=300,
    )
    assert plainest.stdout.strip() == bits()


SCRIPT = """
import sys; sys.path.insert(0, sys.argv[1])
from brute_force import shipped_events, to_batch
from djservice.clustering.cluster import cluster
event = shipped_events().select([int(sys.argv[2])])
for scale in ("minimum", "safe"):
    trees = cluster(event, radius=0.7, rigidity=1.0, trees=2, seed=3, scale=scale, history=True, threads=1)
    print(trees.history.tolist())
unusual = to_batch([[], [[5.0, 0.3, 1.0, 0.2]] * 2, [[5.0, 0.3, 1.0, 0.2]]])  # empty, at one point, alone
assert cluster(unusual, radius=0.7, rigidity=1.0, trees=2, threads=1).n_jets.min(axis=1).tolist() == [0, 1, 1]
"""


def test_the_same_trees_without_a_compiler() -> None:
    """numba switched off, as in CUDA's simulator: lanes are arrays then."""
    events = shipped_events()
    smallest_event = int(events.counts.argmin())
    arguments = [sys.executable, "-c", SCRIPT, str(Path(__file__).parents[1]), str(smallest_event)]
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run(
        arguments, capture_output=True, text=True, check=True, env=environment, timeout=300
    )
    for scale, line in zip(("minimum", "safe"), done.stdout.splitlines(), strict=True):
        event = events.select([smallest_event])
        trees = cluster(
            event, radius=0.7, rigidity=1.0, trees=2, seed=3, scale=scale, history=True, threads=1
        )
        assert trees.history is not None
        assert str(trees.history.tolist()) == line
