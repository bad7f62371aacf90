"""A PyTorch module as a radius model.

It needs PyTorch where the run is started and on the workers (extra ``torch``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from djservice.core.arguments import checked_arguments
from djservice.core.torch_vector import TorchNetwork, unpacked
from djservice.core.typing import Floats
from djservice.errors import InputError
from djservice.radius_models.base import RadiusModel

if TYPE_CHECKING:
    import torch


@checked_arguments
@dataclass(frozen=True)
class TorchModel(TorchNetwork, RadiusModel):
    """PyTorch model h(x) = f(x, w) - f(x, w0) + b in float64.

    f is a PyTorch module, w are its parameters and w0 their initial values. At the start h is
    therefore 0 for every event, whatever the module, and no layer is stuck there. The module is
    used in ``eval`` mode, event by event, without dropout and without normalisation over a batch.

    Attributes
    ----------
    network
        Takes the number of features and returns the module, which maps features of shape
        (event, feature) to one number per event.
    seed
        Seed of w0.

    References
    ----------
    Chizat, Oyallon, Bach 2019 (arXiv:1812.07956), for the start at 0.

    Examples
    --------
    >>> def deep(features):
    ...     from torch import nn
    ...     first, second = nn.Linear(features, 16), nn.Linear(16, 16)
    ...     return nn.Sequential(first, nn.SiLU(), second, nn.SiLU(), nn.Linear(16, 1))
    >>> dj.Run.from_dict(settings | {"radius_model": {"model": dj.TorchModel(deep)}})
    """

    def names(self, features: Sequence[str]) -> tuple[str, ...]:
        return (*self.vector(len(features)).names(), "bias")

    def start(self, features: int, seed: int) -> Floats:
        return np.append(self.vector(features).start(), 0.0)

    def height(self, features: Floats, theta: Floats) -> tuple[Floats, Floats]:
        module = self.vector(features.shape[1]).module()
        import torch

        inputs = torch.tensor(features)

        def value(weights: dict[str, torch.Tensor], event: torch.Tensor) -> torch.Tensor:
            output: torch.Tensor = torch.func.functional_call(module, weights, (event[None],))
            if output.numel() != 1:
                raise InputError(
                    f"{self.name} returned shape {tuple(output.shape)} for one event, expected one "
                    "number per event."
                )
            return output.reshape(())

        initial_weights = {name: values.detach() for name, values in module.named_parameters()}
        per_event = (None, 0)
        slopes, current = torch.func.vmap(torch.func.grad_and_value(value), per_event)(
            unpacked(module, theta[:-1]), inputs
        )
        initial = torch.func.vmap(value, per_event)(initial_weights, inputs)
        jacobian = [
            slopes[name].reshape(len(features), values.numel()).numpy()
            for name, values in initial_weights.items()
        ]
        height = (current - initial).numpy() + theta[-1]
        return height, np.concatenate([*jacobian, np.ones((len(features), 1))], axis=1)
