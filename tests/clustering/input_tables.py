"""Derivatives in particles from tables and from the kernels: single trees, and expectations of tiny events by all their trees."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from brute_force import Floats, to_batch

from djservice.clustering.cluster import follow_trees
from djservice.clustering.particle_cotangents import Coordinates, particle_cotangents
from djservice.clustering.radius import Radius
from djservice.clustering.sampling import Sampling, TreeRequest
from djservice.events.batch import EventBatch

DATA = Path(__file__).parent / "data"
FUNCTIONS = ("dijet_mass", "leading_mass", "leading_pt", "loss")


@cache
def table(name: str) -> list[dict[str, Any]]:
    """A table of an independent program, which enumerated all merge sequences."""
    entries: list[dict[str, Any]] = json.loads(
        gzip.decompress((DATA / f"{name}.json.gz").read_bytes())
    )
    return entries


def sampling_of(row: dict[str, Any]) -> Sampling:
    """The setting of a row of a table."""
    return Sampling(
        row["rigidity"],
        power=row["power"],
        scale=row["scale"],
        asymmetry=row["asymmetry"] or 1.0,
        device="cpu",
        threads=1,
    )


def per_tree(
    events: EventBatch,
    radius: Radius,
    sampling: Sampling,
    factors: tuple[float, float] = (1.0, 0.0),
    jets: Floats | None = None,
    history: Any = None,
    coordinates: Coordinates = "pt_y_phi_m",
    settled_pt: float | None = None,
) -> Floats:
    """u S + v T of one tree of each event, shape (particle, 4)."""
    request = TreeRequest(1, 2, settled_pt=settled_pt)
    pulled, _ = particle_cotangents(
        events,
        radius,
        sampling,
        request,
        np.tile(np.array(factors), (len(events), 1, 1, 1)),
        np.zeros((len(events), 1, 2, 4)) if jets is None else jets,
        coordinates=coordinates,
        history=history,
    )
    return pulled[:, 0]


class AllTrees:
    """All trees of a tiny event, each as an event of its own with a given history."""

    def __init__(
        self, particles: Floats, histories: Floats, radius: Radius, sampling: Sampling
    ) -> None:
        self.trees, self.shape = len(histories), (len(histories), len(particles), 4)
        self.events = to_batch([particles]).select(np.zeros(self.trees, np.int64))
        self.history = np.asarray(histories, np.int32).reshape(-1, 2)
        self.radius, self.sampling = radius, sampling
        sample = follow_trees(self.events, self.history, radius, sampling, TreeRequest(1, 2))
        self.log_prob, self.momenta = sample.numbers[:, 0, 0], sample.momenta[:, 0]

    def score(self, coordinates: Coordinates = "pt_y_phi_m") -> Floats:
        """D log P of each tree, shape (tree, particle, 4)."""
        return self._pulled((1.0, 0.0), None, coordinates)

    def functions(self) -> tuple[Floats, Floats]:
        """Values of FUNCTIONS, shape (function, tree), and their derivatives in the two leading jets."""
        jets = np.nan_to_num(self.momenta)
        both, first = mass_and_slope(jets.sum(axis=1)), mass_and_slope(jets[:, 0])
        pt = np.hypot(jets[:, 0, 0], jets[:, 0, 1])
        slope = np.zeros((4, *jets.shape))
        slope[0] = both[1][:, np.newaxis]
        slope[1, :, 0] = first[1]
        slope[2, :, 0, :2] = jets[:, 0, :2] / pt[:, np.newaxis]
        slope[3] = slope[0] * (2.0 * (both[0] / 125.0 - 1.0) / 125.0)[:, np.newaxis, np.newaxis]
        return np.stack([both[0], first[0], pt, (both[0] / 125.0 - 1.0) ** 2]), slope

    def pathwise(self, slope: Floats, coordinates: Coordinates = "pt_y_phi_m") -> Floats:
        """Derivatives of a function at each tree, given those in the jets."""
        return self._pulled((0.0, 1.0), slope[:, np.newaxis], coordinates)

    def _pulled(
        self, factors: tuple[float, float], jets: Floats | None, coordinates: Coordinates
    ) -> Floats:
        return per_tree(
            self.events, self.radius, self.sampling, factors, jets, self.history, coordinates
        ).reshape(self.shape)


def mass_and_slope(p: Floats) -> tuple[Floats, Floats]:
    """The mass of momenta and its derivatives; both are 0 for what is massless but for rounding."""
    square = p[:, 3] ** 2 - (p[:, :3] ** 2).sum(axis=1)
    massive = square > 1e-12 * p[:, 3] ** 2
    mass = np.sqrt(np.where(massive, square, 0.0))
    slope = p * np.array([-1.0, -1.0, -1.0, 1.0])
    return mass, np.where(
        massive[:, np.newaxis], slope / np.where(massive, mass, 1.0)[:, None], 0.0
    )
