"""Training: the part that radius models, particle weights and networks have in common."""

from __future__ import annotations

from collections.abc import Sequence

from djservice.config.task_sections import JointSection, ParticleWeightsSection, RadiusModelSection
from djservice.core.progress import Watch
from djservice.fit.descent import Descent, Parameter
from djservice.fit.iterations import EvaluateAt, Iterations
from djservice.fit.optimisers import Optimiser
from djservice.store.run_store import Store

#: Name of the first scored sample: events of the run's input that are not used for training.
HELD_BACK = "held_back"


async def train(
    store: Store,
    group: str,
    watch: Watch,
    section: RadiusModelSection | ParticleWeightsSection | JointSection,
    parameters: Sequence[Parameter],
    optimiser: Optimiser,
    averaged: int,
    evaluate: EvaluateAt,
) -> Descent:
    """Replay the iterations in a group of the store, do the others, and return the descent.

    Parameters
    ----------
    averaged
        Number of the last iterations over which the parameters are averaged.
    """
    descent = Descent(
        parameters=tuple(parameters),
        optimiser=optimiser,
        rate=section.learning_rate,
        decay_iterations=section.decay_iterations,
        averaging_start=section.iterations - averaged,
    )
    return await Iterations(
        store, group, watch, "train", descent, section.iterations, evaluate
    ).run_to_completion()


def last_quarter(iterations: int) -> int:
    """Number of the last iterations over which parameters are averaged that R moves with."""
    return max(1, iterations // 4)
