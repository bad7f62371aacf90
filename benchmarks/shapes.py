"""CPU time of fitted shapes for each jet, and the number of transports in it.

    python benchmarks/shapes.py 20 [--figure]

Cones of 1 around the hardest particles of the shipped ZH events, with about 40 particles. Writes
docs/images/shapes.png, the figure of the guide, with --figure.
"""

from __future__ import annotations

import sys
import time

import numpy as np

import djservice as dj
from djservice.shapes import Disk, Ellipse, Point, Ring, Uniform, model

SHAPES = {
    "1-point": Point(1),
    "2-point": Point(2),
    "3-point": Point(3),
    "1-ring": Ring(1),
    "1-disk": Disk(1),
    "1-ellipse": Ellipse(1),
    "1-disk + point": Disk(1) + Point(1),
    "2-ring": Ring(2),
    "2-disk": Disk(2),
    "2-disk + uniform": Disk(2) + Uniform(),
    "uniform": Uniform(),
}


def jets(number: int) -> list[np.ndarray]:
    """Cones of 30 to 50 particles as rows of pT, rapidity and phi."""
    events = dj.read("example:ZHllbb_200", schema=dj.schemas.nanoaod(pt_min=0.5))
    clouds = []
    for rows in np.split(
        np.column_stack([events.pt, events.rapidity, events.phi]), events.offsets[1:-1]
    ):
        apart = rows[:, 1:] - rows[np.argmax(rows[:, 0]), 1:]
        cone = np.hypot(apart[:, 0], np.remainder(apart[:, 1] + np.pi, 2.0 * np.pi) - np.pi) < 1.0
        if 30 <= cone.sum() <= 50:
            clouds.append(rows[cone])
    return clouds[:number]


def draw(clouds: list[np.ndarray]) -> None:
    """Draw the shapes of a jet, and the radii of all jets."""
    import matplotlib.pyplot as plt
    from matplotlib.patches import Ellipse as Outline

    from djservice.reports.drawing import COLOURS
    from djservice.reports.figures import style

    with style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.8), layout="constrained")
        pt, y, phi = clouds[0].T
        left.scatter(y, phi, 400.0 * pt / pt.sum(), color="0.6", label="particles, by pT")
        for shape, colour in (
            (Disk(1), COLOURS[0]),
            (Disk(2), COLOURS[1]),
            (Ellipse(1), COLOURS[2]),
        ):
            fit = dj.shapes.fit(clouds[0], shape)
            label: str | None = f"{dj.shapes.Shape((shape,))}: {fit.value:.3f}"
            for centre, (a, b), angle in zip(fit.centres, fit.axes, fit.angles, strict=True):
                outline = Outline(centre, 2.0 * a, 2.0 * b, angle=np.degrees(angle), fill=False)
                outline.set(edgecolor=colour, linewidth=2.0, label=label)
                left.add_patch(outline)
                label = None
        left.set(xlabel="rapidity", ylabel="azimuth [rad]", aspect="equal")
        left.legend(fontsize=9)
        edges = np.linspace(0.0, 1.2, 25)
        for shape, colour in ((Ring(1), COLOURS[0]), (Disk(1), COLOURS[1])):
            radii = [float(dj.shapes.fit(cloud, shape).radii[0]) for cloud in clouds]
            counts, _ = np.histogram(radii, edges)
            right.stairs(counts, edges, color=colour, label=f"{dj.shapes.Shape((shape,))}")
        right.set(xlabel="fitted radius", ylabel="jets")
        right.legend()
        figure.savefig("docs/images/shapes.png", dpi=130)


def main(number: int) -> None:
    """Print a table."""
    clouds, solved, transport = jets(number), [0], model.transport

    def counted(*arguments: np.ndarray) -> model.Solution:
        solved[0] += 1
        return transport(*arguments)

    model.transport = counted
    for shape in (Point(2), Disk(1)):
        dj.shapes.fit(clouds[0], shape)  # compiled and loaded
    print(f"{len(clouds)} jets, {np.mean([len(cloud) for cloud in clouds]):.1f} particles")
    for name, shape in SHAPES.items():
        for beta in (1.0, 2.0):
            solved[0], begin = 0, time.thread_time()
            for cloud in clouds:
                dj.shapes.fit(cloud, shape, beta=beta)
            spent = (time.thread_time() - begin) / len(clouds)
            print(f"| {name} | {beta:g} | {1e3 * spent:.2f} | {solved[0] / len(clouds):.0f} |")


if __name__ == "__main__":
    if "--figure" in sys.argv:
        draw(jets(int(sys.argv[1])))
    else:
        main(int(sys.argv[1]))
