"""A PyTorch module as a weight model.

It needs PyTorch where the run is started and on the workers (extra ``torch``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from djservice.core.arguments import checked_arguments
from djservice.core.torch_vector import TorchNetwork, one_thread, packed, unpacked
from djservice.core.typing import Floats
from djservice.errors import InputError
from djservice.weight_models.base import WeightModel

if TYPE_CHECKING:
    import torch


@checked_arguments
@dataclass(frozen=True)
class TorchWeights(TorchNetwork, WeightModel):
    """PyTorch weight model h(x) = f(x, theta) - f(x, theta_0) + b in float64.

    f is a PyTorch module and theta_0 are its initial parameters. At the start h is therefore the
    same for all particles, whatever the module. The module is used in ``eval`` mode, event by
    event, so it may let the particles of an event see each other.

    Attributes
    ----------
    network
        Takes the number of features and returns the module, which maps the features of the
        particles of an event, shape (particle, feature), to one number per particle.
    seed
        Seed of theta_0.

    Examples
    --------
    >>> def small(features):
    ...     from torch import nn
    ...     return nn.Sequential(nn.Linear(features, 8), nn.Tanh(), nn.Linear(8, 1))
    >>> dj.Run.from_dict(settings | {"particle_weights": {"model": dj.TorchWeights(small)}})
    """

    def names(self, features: Sequence[str]) -> tuple[str, ...]:
        return (*self.vector(len(features)).names(), "bias")

    def start(self, features: int, seed: int) -> Floats:
        return np.append(self.vector(features).start(), 0.0)

    def height(self, features: Floats, theta: Floats, offsets: NDArray[np.int64]) -> Floats:
        vector = self.vector(features.shape[1])
        module, height = vector.module(), np.full(len(features), theta[-1])
        import torch

        current, initial = unpacked(module, theta[:-1]), unpacked(module, vector.start())
        with one_thread(), torch.no_grad():
            for start, stop in pairwise(offsets):
                inputs = torch.tensor(features[start:stop])
                value = self._values(module, current, inputs)
                height[start:stop] += (value - self._values(module, initial, inputs)).numpy()
        return height

    def pull_back(
        self, features: Floats, theta: Floats, offsets: NDArray[np.int64], slopes: Floats
    ) -> Floats:
        module = self.vector(features.shape[1]).module()
        import torch

        current = unpacked(module, theta[:-1])
        leaves = [value.requires_grad_() for value in current.values()]
        sums = np.zeros((len(offsets) - 1, len(theta), slopes.shape[1]))
        with one_thread():
            for event, (start, stop) in enumerate(pairwise(offsets)):
                value = self._values(module, current, torch.tensor(features[start:stop]))
                for column, slope in enumerate(slopes[start:stop].T):
                    gradients = torch.autograd.grad(
                        value, leaves, torch.tensor(slope), retain_graph=True, allow_unused=True,
                        materialize_grads=True,
                    )  # fmt: skip
                    sums[event, :-1, column] = packed(dict(zip(current, gradients, strict=True)))
                    sums[event, -1, column] = np.add.accumulate(np.append(0.0, slope))[-1]
        return sums

    def _values(
        self, module: torch.nn.Module, parameters: dict[str, torch.Tensor], inputs: torch.Tensor
    ) -> torch.Tensor:
        import torch

        output: torch.Tensor = torch.func.functional_call(module, parameters, (inputs,))
        if output.numel() != len(inputs):
            raise InputError(
                f"{self.name} returned shape {tuple(output.shape)} for {len(inputs)} particles, "
                "expected one number per particle."
            )
        return output.reshape(-1)
