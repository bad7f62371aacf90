"""Weight models: the weight of a particle as a function of its features, with learned parameters.

    w = w_min + (1 - w_min) sigmoid(h(x, theta))

Here x are the features of the particle and theta the parameters, which travel as one vector. A model
gives h, and pulls derivatives in h back to theta, so that a model of any size needs no matrix of
(particle, parameter).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from djservice.core.typing import Floats


class WeightModel(ABC):
    """A function h(x, theta) of the features of a particle and of parameters.

    Subclass it for a model of your own. A model with settings should be a frozen dataclass, because
    a store identifies it by its repr. Results must not depend on which events come together.
    """

    @abstractmethod
    def names(self, features: Sequence[str]) -> tuple[str, ...]:
        """Names of the parameters, in order; the last parameter is a constant added to h."""

    @abstractmethod
    def start(self, features: int, seed: int) -> Floats:
        """Initial theta, shape (theta,), at which h is 0 for every x."""

    @abstractmethod
    def height(self, features: Floats, theta: Floats, offsets: NDArray[np.int64]) -> Floats:
        """Values of h, shape (particle,).

        Parameters
        ----------
        features
            Standardised features, shape (particle, feature).
        theta
            Parameters, shape (theta,).
        offsets
            Event ``i`` has the particles ``offsets[i]:offsets[i + 1]``.
        """

    @abstractmethod
    def pull_back(
        self, features: Floats, theta: Floats, offsets: NDArray[np.int64], slopes: Floats
    ) -> Floats:
        """Sums over the particles of each event of slope times dh/dtheta.

        Parameters
        ----------
        features, theta, offsets
            As of :meth:`height`.
        slopes
            Derivatives in h of each particle, shape (particle, column).

        Returns
        -------
        Shape (event, theta, column).
        """

    @property
    def name(self) -> str:
        """Name of the model in tables."""
        return repr(self)

    @property
    def function(self) -> Callable[..., object]:
        """Function whose source a store hashes to identify the model, in addition to its name."""
        return type(self).height


def sums_over_events(values: Floats, offsets: NDArray[np.int64]) -> Floats:
    """Sums over the particles of each event, one after the other, shape (event,)."""
    event = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    sums: Floats = np.bincount(event, values, len(offsets) - 1).astype(np.float64)
    return sums


def pulled_through(jacobian: Floats, offsets: NDArray[np.int64], slopes: Floats) -> Floats:
    """:meth:`WeightModel.pull_back` from dh/dtheta of each particle, shape (particle, theta)."""
    return np.stack(
        [
            np.stack([sums_over_events(slope * column, offsets) for slope in slopes.T], axis=-1)
            for column in jacobian.T
        ],
        axis=1,
    )
