"""Smoothed perturbation analysis: trees that take the option a slightly larger R would have drawn."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from djservice.clustering.cluster import sample_trees
from djservice.clustering.sampling import Flips, Sampling, TreeRequest
from djservice.clustering.trees import FLIP_RATE, FLIP_STEP, TreeSample, as_vectors
from djservice.core.array_module import to_host
from djservice.core.typing import Floats
from djservice.estimators.base import Contributions, Estimator, ExtraJets, TreeValues
from djservice.events.batch import EventBatch


@dataclass(frozen=True)
class AlternativePath(Estimator):
    """W (f_alternative - f): what the tree would have been if R were infinitesimally larger (smoothed perturbation analysis).

    At a step whose drawn option loses probability with R, at the rate -s, the tree could have gone to an option that gains;
    W is the sum of these rates over the tree, and one such step, chosen in proportion to them, is flipped and the tree regrown
    with the same random numbers (docs/how-it-works.md). With ``all_steps`` each of them is, and the contribution is the sum of
    rate (f_alternative - f) over the steps: the mean of the former over the choice of the step.

    Estimand d E[f]/dR; unbiased, for what is lost is what is gained; costs two trees; its variance is about that of
    leave-one-out, which costs one. With ``all_steps`` it costs 10 to 20 trees at n = 140, and its variance at alpha = 1 is 0.36 of that
    of one flip, which does not pay. References: Arya et al., arXiv:2210.08572; Kagan, Heinrich, arXiv:2308.16680.

    Attributes
    ----------
    all_steps
        Whether every step that can flip is flipped, or one of each tree.
    """

    all_steps: bool = False

    name: ClassVar[str] = "alternative_path"

    @property
    def flips(self) -> Flips:
        return "all" if self.all_steps else True

    @property
    def memory_factor(self) -> int:
        return 10 if self.all_steps else 1

    def extra_jets(
        self,
        events: EventBatch,
        radius: Floats,
        sampling: Sampling,
        request: TreeRequest,
        sample: TreeSample,
    ) -> ExtraJets:
        assert sample.flips is not None
        for flip in np.moveaxis(sample.flips, 2, 0):
            left = np.flatnonzero(
                (flip[..., FLIP_STEP] >= 0).any(axis=1)
            )  # events in which a tree has so many flips
            rows = to_host(left)
            flipped = replace(request, flips=flip[left])
            momenta = sample.momenta.copy()
            momenta[left] = sample_trees(
                events.select(rows), radius[rows], sampling, flipped
            ).momenta
            yield as_vectors(momenta), flip[..., FLIP_RATE]

    def slopes(self, values: TreeValues) -> Contributions:
        quantity, accepted = np.zeros_like(values.quantity), np.zeros_like(values.accepted)
        for other, other_accepted, rate in values.extra:
            quantity += rate * (other - values.quantity)
            accepted += rate * (other_accepted - values.accepted)
        return Contributions(quantity, accepted)
