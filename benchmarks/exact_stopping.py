"""Exact stopping and the state baseline on real events: the same leading jets, the same expectations, the same gradients.

Every tree is grown twice, to its end and with exact stopping. Counted: trees whose two leading jets above 20 GeV differ.
Paired over trees: the difference between gradients of the loss (leave-one-out on whole trees; on stopped ones; state
baseline), in standard errors.

    python benchmarks/exact_stopping.py
"""

from __future__ import annotations

import numpy as np
from estimators import LOSS
from events import classes

import djservice as dj
from djservice.estimators.base import StateValues, TreeValues


def main() -> None:
    """Print the table."""
    print(
        f"{'events':14s} {'alpha':>5s} {'trees':>8s} {'differ':>6s} {'steps':>6s} {'z stopped':>9s} {'z state':>8s}"
    )
    total = 0
    for name, events in classes().items():
        trees = 100 if name == "ZH full" else 400
        for rigidity in (1.0, 10.0, 100.0):
            differ, steps, sums = 0, [], np.zeros((2, 2))
            for seed, radius in enumerate((0.4, 0.7, 1.0)):
                point = {"radius": radius, "rigidity": rigidity, "trees": trees, "seed": seed}
                whole = dj.cluster(events, **point)
                stopped = dj.cluster(events, **point, settled_pt=20.0, states=True)
                above = np.nan_to_num(whole.jets.pt) > 20.0
                same = (np.nan_to_num(stopped.jets.pt) > 20.0) == above
                same &= (stopped.momenta == whole.momenta).all(axis=-1) | ~above
                differ += int((~same.all(axis=-1)).sum())
                steps.append(stopped.steps.sum() / whole.steps.sum())
                states = stopped.states
                assert states is not None
                _, (quantity,), accepted = LOSS.evaluate(whole.jets, events.truth)
                _, (of_state,), in_state = LOSS.evaluate(
                    states.jets[:, np.newaxis], events.truth[states.tree // trees]
                )
                follow = StateValues(
                    of_state[:, 0], in_state[:, 0].astype(float), states.scores[:, 0], states.tree
                )
                loss = quantity.sum() / accepted.sum()
                one, two, three = (
                    (slopes.quantity - loss * slopes.accepted)
                    for slopes in (
                        dj.LeaveOneOut().slopes(
                            TreeValues(quantity, accepted.astype(float), whole.score)
                        ),
                        dj.LeaveOneOut().slopes(
                            TreeValues(quantity, accepted.astype(float), stopped.score)
                        ),
                        dj.StateBaseline().slopes(
                            TreeValues(
                                quantity,
                                accepted.astype(float),
                                stopped.score,
                                follow,
                                rigidity=rigidity,
                            )
                        ),
                    )
                )
                for row, difference in enumerate((two - one, three - two)):
                    sums[row] += (
                        difference.mean(axis=1).sum(),
                        (difference.var(axis=1, ddof=1) / trees).sum(),
                    )
            number = 3 * len(events) * trees
            total += number
            z = sums[:, 0] / np.sqrt(sums[:, 1])
            print(
                f"{name:14s} {rigidity:5g} {number:8d} {differ:6d} {np.mean(steps):6.2f} {z[0]:9.2f} {z[1]:8.2f}",
                flush=True,
            )
    print(f"{total} trees")


if __name__ == "__main__":
    main()
