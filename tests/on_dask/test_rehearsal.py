"""Runs compile all that they need before they begin, and processes of one folder compile it once."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from djservice.clustering.kernels.code_cache import PATIENCE
from djservice.config.run import Run
from djservice.fit.plan import RunPlan
from djservice.on_dask.rehearsal import rehearsals_of

RUN: dict[str, Any] = {
    "input": {"files": "example:ZHllbb_200"},
    "loss": {"kind": "bounded_error", "observable": "soft_dijet_mass", "target": 125.0},
    "output": {"store": "store.zarr"},
}
ANGULARITY = {"kind": "squared_error", "observable": "log_angularity", "target": -2.0, "scale": 1.0}
#: Says which kernels are compiled or loaded by the work itself, after the rehearsal of it.
AFTER_REHEARSALS = """
import asyncio, sys
import numpy as np
from numba.core.registry import CPUDispatcher
import djservice as dj
from djservice.clustering.kernels import constituents, cpu, kinematics, leading_constituents, lund, tangents
from djservice.clustering.sampling import Sampling
from djservice.evaluation.weight_gradient import InWeights, weight_gradients
from djservice.lund_planes.leading_jets import leading_sums
from djservice.on_dask.arithmetic import clustering_digest
from djservice.on_dask.rehearsal import rehearse
from djservice.weight_models.builtin import Logistic
from djservice.weight_models.features import log_pt
from djservice.weight_models.weighting import Weighting, Weights

MODULES = constituents, cpu, kinematics, leading_constituents, lund, tangents

def signatures():
    kernels = [(m.__name__, name, k) for m in MODULES for name, k in vars(m).items() if isinstance(k, CPUDispatcher)]
    return {(module, name, str(s)) for module, name, k in kernels for s in k.overloads}

events = dj.read("example:ZHllbb_200", schema=dj.schemas.nanoaod(pt_min=4.0), entries=(0, 3))
mass = dj.SquaredError(dj.observables.dijet_mass, 125.0, 125.0)
weighting = Weighting(Logistic(), (log_pt,), None)
soft = dj.BoundedError(dj.observables.soft_dijet_mass(), 125.0, 125.0)
work = {
    "lund planes": lambda: leading_sums(events, 0.8, -1.0, 2),
    "constituents": lambda: dj.gradient(
        events, dj.SquaredError(dj.observables.log_angularity(), -2.0, 1.0), radius=0.8, trees=8),
    "soft trees": lambda: dj.gradient(events, mass, radius=0.8, trees=8, estimator=dj.GumbelSoftmax()),
    "particle weights": lambda: weight_gradients(
        [weighting.prepare(events)], Weights(weighting, np.array([0.1, 0.2])), soft, Sampling(threads=1),
        InWeights(), radius=0.8, trees=4),
}
clustering_digest()
plain = signatures()
dj.gradient(events, mass, radius=0.8, trees=8)
print("plain", signatures() - plain)
for name, do in work.items():
    asyncio.run(rehearse([name]))
    rehearsed = signatures()
    do()
    print(name, signatures() - rehearsed, "rehearsed" if rehearsed - plain else "nothing rehearsed")
    plain = signatures()
"""
#: Says how often the trees' kernel was compiled here, and the numbers that came out.
FIRST_USE = """
from djservice.clustering.kernels.cpu import cluster_items
from djservice.on_dask.arithmetic import clustering_digest
print(clustering_digest(), len(cluster_items.overloads) - sum(cluster_items.stats.cache_hits.values()))
"""


def test_what_is_rehearsed_leaves_nothing_to_compile() -> None:
    script = [sys.executable, "-c", AFTER_REHEARSALS]
    done = subprocess.run(script, capture_output=True, text=True, timeout=900)
    names = ("lund planes", "constituents", "soft trees", "particle weights")
    expected = ["plain set()", *(f"{name} set() rehearsed" for name in names)]
    assert done.stdout.splitlines() == expected, done.stderr


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"estimator": "gumbel_softmax"}, ["soft trees"]),
        ({"loss": ANGULARITY}, ["constituents"]),
        ({"task": "particle-weights"}, ["particle weights"]),
    ],
)
def test_a_run_rehearses_what_it_does(changes: dict[str, Any], expected: list[str]) -> None:
    plan = RunPlan(Run.from_dict(RUN | changes))
    assert rehearsals_of(plan, "cpu", lund=False) == expected
    assert rehearsals_of(plan, "cpu", lund=True) == ["lund planes", *expected]
    assert rehearsals_of(plan, "cuda", lund=False) == [x for x in expected if x == "soft trees"]


@pytest.mark.long
def test_eight_processes_with_an_empty_folder_compile_once(tmp_path: Path) -> None:
    folder = tmp_path / "numba"
    folder.mkdir(mode=0o700)
    environment = os.environ | {"NUMBA_CACHE_DIR": str(folder)}
    began = time.monotonic()
    started = [
        subprocess.Popen(
            [sys.executable, "-c", FIRST_USE],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(8)
    ]
    answers = [process.communicate(timeout=900) for process in started]
    assert all(not errors for _, errors in answers), answers
    digests, compiled = zip(*(output.split() for output, _ in answers), strict=True)
    assert len({*digests}) == 1
    was_slow = time.monotonic() - began > PATIENCE  # then those who waited compile too
    assert was_slow or sorted(map(int, compiled)) == [0] * 7 + [1]
