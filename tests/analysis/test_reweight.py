"""Loss and slope at other radii from one set of trees, against exact values and against trees grown there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from brute_force import shipped_events, to_batch

from djservice import SquaredError, SquaredErrorOfMean, cuts, observables
from djservice.analysis.reweight import reweight
from djservice.errors import InputError
from djservice.evaluation.gradient import gradient

LOSS = SquaredError(observables.dijet_mass, target=80.0, scale=80.0).where(
    cuts.two_jets(pt_min=15.0)
)
TABLE = Path(__file__).parents[1] / "clustering" / "data" / "exact_trees_n4.json"


def test_it_agrees_with_the_exact_tables() -> None:
    """From R to the other radius of the table: mean and derivative, in units of their spread over repetitions."""
    z, number = [], 0
    for event in json.loads(TABLE.read_text()):
        rows = [row for row in event["expect"] if row["rigidity"] == 0.1 and row["exponent"] == -1]
        batch = to_batch([event["particles_pt_y_phi_m"]])
        for row in rows:
            start, number = row["radius"] * 1.1, number + 100
            found = [
                reweight(
                    batch,
                    observables.dijet_mass,
                    radius=start,
                    radii=[row["radius"]],
                    rigidity=0.1,
                    trees=2000,
                    seed=number + k,
                )
                for k in range(12)
            ]
            for name, expected in (("loss", row["mean"]), ("gradient", row["d_radius"])):
                values = np.array([getattr(each, name)[0] for each in found])
                z.append((values.mean() - expected) / (values.std(ddof=1) / np.sqrt(len(values))))
    assert len(z) >= 10
    assert (
        np.abs(z).max() < 5.5
    )  # Student's t with 11 degrees of freedom has wider tails than a normal
    assert abs(np.mean(z)) * np.sqrt(len(z)) < 4


def test_at_its_own_radius_it_is_the_plain_estimate() -> None:
    events = shipped_events().select(range(20))
    found = reweight(events, LOSS, radius=0.7, radii=[0.7, 0.72], trees=60, seed=3)
    assert found.fraction[0] == pytest.approx(1.0, rel=1e-12) and 0.3 < found.fraction[1] < 1.0
    plain = gradient(events, LOSS, radius=0.7, trees=60, seed=3)
    assert found.loss[0] == pytest.approx(plain.loss.value, rel=1e-10)
    assert found.loss_error[0] == pytest.approx(plain.loss.error, rel=1e-10)
    direct = gradient(events, LOSS, radius=0.72, trees=60, seed=4)
    assert abs(found.loss[1] - direct.loss.value) < 4 * np.hypot(
        direct.loss.tree_error, found.loss_error[1]
    )
    assert abs(found.gradient[1] - direct.value) < 4 * np.hypot(
        direct.error, found.gradient_error[1]
    )


@pytest.mark.parametrize(
    ("objective", "arguments", "message"),
    [
        (
            LOSS,
            {"radii": [1.3]},
            r"R = 1.3 is too far from 0.7 at rigidity 1: only 0\.\d\d of the trees count",
        ),
        (LOSS + LOSS, {"radii": [0.7]}, r"a loss of one term"),
        (
            SquaredErrorOfMean(observables.dijet_mass, target=80.0),
            {"radii": [0.7]},
            r"that is a mean over trees",
        ),
    ],
)
def test_what_cannot_be_reweighted(objective: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        reweight(shipped_events().select([0, 1]), objective, radius=0.7, trees=20, **arguments)
