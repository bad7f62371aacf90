"""Infrared safety, measured: how far an arbitrarily soft particle near a hard one moves the mean dijet mass.

Every merge sequence of small events is enumerated and weighed by the kernel (`dj.replay`), so the shifts carry no statistical
error. The soft particle has 1e-9 of the hardest particle's pT at a distance of 0.4 from it. Writes docs/images/infrared.png.

    python benchmarks/infrared_safety.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

import djservice as dj

RIGIDITIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
EVENTS = 20


def histories(live: tuple[int, ...], new: int) -> Iterator[list[tuple[int, int]]]:
    """Every sequence of merges (a, b) and promotions (a, -1) of the objects in ``live``; the next sum is called ``new``."""
    if not live:
        yield []
        return
    for i, a in enumerate(live):
        rest = live[:i] + live[i + 1 :]
        for tail in histories(rest, new + 1):
            yield [(a, -1), *tail]
        for b in live[i + 1 :]:
            for tail in histories((*(x for x in rest if x != b), new), new + 1):
                yield [(a, b), *tail]


def mean_mass(event: dj.EventBatch, every: np.ndarray, rigidity: float, scale: str) -> float:
    """E[m_jj] over all trees, exactly."""
    trees = dj.replay(event, every, radius=0.7, rigidity=rigidity, scale=scale)
    probability = np.exp(trees.log_prob[0])
    assert abs(probability.sum() - 1.0) < 1e-9
    return float(probability @ dj.observables.dijet_mass(trees.jets)[0])


def main() -> None:
    """Print the table and draw the figure."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rng = np.random.default_rng(1)
    all_histories = {n: np.array(list(histories(tuple(range(n)), n))) for n in (4, 5)}
    shifts: dict[str, list[list[float]]] = {"minimum": [], "safe": []}
    for _ in range(EVENTS):
        pt, y, phi = (
            np.sort(rng.exponential(30, 4) + 5)[::-1],
            rng.uniform(-1, 1, 4),
            rng.uniform(-np.pi, np.pi, 4),
        )
        soft = pt[0] * 1e-9, y[0] + 0.24, phi[0] + 0.32
        hard = dj.EventBatch.from_arrays(
            pt=pt, rapidity=y, phi=phi, mass=np.zeros(4), offsets=[0, 4]
        )
        fields = {
            k: np.append(v, s)
            for k, v, s in zip(("pt", "rapidity", "phi"), (pt, y, phi), soft, strict=True)
        }
        both = dj.EventBatch.from_arrays(**fields, mass=np.zeros(5), offsets=[0, 5])
        for scale, rows in shifts.items():
            masses = [
                (
                    mean_mass(hard, all_histories[4], a, scale),
                    mean_mass(both, all_histories[5], a, scale),
                )
                for a in RIGIDITIES
            ]
            rows.append([abs(after / before - 1.0) for before, after in masses])
    figure, axes = plt.subplots(figsize=(6.5, 4.2), layout="constrained")
    print(
        "relative shift of the mean dijet mass by one soft particle: median and largest of",
        EVENTS,
        "events",
    )
    for scale, colour in (("minimum", "#D55E00"), ("safe", "#0072B2")):
        table = np.array(shifts[scale])
        for rigidity, column in zip(RIGIDITIES, table.T, strict=True):
            print(f"{scale:8s} alpha {rigidity:6g}: {np.median(column):9.1e} {column.max():9.1e}")
        floor = np.maximum(table, 1e-11)
        axes.plot(RIGIDITIES, np.median(floor, axis=0), "o-", color=colour, label=f"scale: {scale}")
        axes.fill_between(
            RIGIDITIES, np.median(floor, axis=0), floor.max(axis=0), color=colour, alpha=0.2, lw=0
        )
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="rigidity",
        ylabel="relative shift of E[m_jj]",
        ylim=(1e-11, 1),
    )
    axes.legend(title="line: median, band: to the largest")
    figure.savefig(Path(__file__).parents[1] / "docs" / "images" / "infrared.png", dpi=110)


if __name__ == "__main__":
    main()
