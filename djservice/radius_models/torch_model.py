"""A PyTorch module as a radius model. Needs PyTorch on the scheduler's side and on the workers (extra ``torch``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from djservice.core.typing import Floats
from djservice.errors import InputError
from djservice.radius_models.base import RadiusModel

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class TorchModel(RadiusModel):
    """h(x) = f(x, w) - f(x, w0) + b, with f a PyTorch module, w its parameters and w0 these at the start; in float64.

    So h is 0 for every event at the start, whatever the module, and no layer is stuck there. The module is used in its
    ``eval`` mode, event by event: no dropout, and no normalisation over a batch.

    Attributes
    ----------
    network
        Takes the number of features and returns the module, which makes of shape (event, feature) one number per event.
    seed
        Of w0.

    References
    ----------
    Chizat, Oyallon, Bach 2019 (arXiv:1812.07956), for the start at 0.

    Examples
    --------
    >>> def deep(features):
    ...     from torch import nn
    ...     return nn.Sequential(nn.Linear(features, 16), nn.SiLU(), nn.Linear(16, 16), nn.SiLU(), nn.Linear(16, 1))
    >>> dj.Run.from_dict(settings | {"radius_model": {"model": dj.TorchModel(deep)}})
    """

    network: Callable[[int], torch.nn.Module]
    seed: int = 0

    @property
    def name(self) -> str:
        return f"TorchModel({self.network.__qualname__}, seed={self.seed})"

    @property
    def function(self) -> Callable[..., object]:
        return self.network

    def names(self, features: Sequence[str]) -> tuple[str, ...]:
        parameters = self._module(len(features)).named_parameters()
        return (
            *(f"{name}[{i}]" for name, values in parameters for i in range(values.numel())),
            "bias",
        )

    def start(self, features: int, seed: int) -> Floats:
        return np.append(_flat(self._module(features)), 0.0)

    def height(self, features: Floats, theta: Floats) -> tuple[Floats, Floats]:
        import torch

        module = self._module(features.shape[1])
        inputs = torch.tensor(features)

        def value(weights: dict[str, torch.Tensor], event: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = torch.func.functional_call(module, weights, (event[None],))
            if out.numel() != 1:
                raise InputError(
                    f"{self.name} returned shape {tuple(out.shape)} for one event, expected one number per event."
                )
            return out.reshape(())

        at_start = {name: values.detach() for name, values in module.named_parameters()}
        sizes = [values.numel() for values in at_start.values()]
        split = torch.tensor(theta[:-1]).split(sizes)
        weights = {
            name: part.reshape(values.shape)
            for (name, values), part in zip(at_start.items(), split, strict=True)
        }
        per_event = (None, 0)
        slopes, found = torch.func.vmap(torch.func.grad_and_value(value), per_event)(
            weights, inputs
        )
        begun = torch.func.vmap(value, per_event)(at_start, inputs)
        jacobian = [
            slopes[name].reshape(len(features), size).numpy()
            for name, size in zip(at_start, sizes, strict=True)
        ]
        height = (found - begun).numpy() + theta[-1]
        return height, np.concatenate([*jacobian, np.ones((len(features), 1))], axis=1)

    def _module(self, features: int) -> torch.nn.Module:
        """The module at the start, the same in every process."""
        try:
            import torch
        except ImportError as error:
            raise InputError(
                f"{self.name} needs PyTorch: pip install 'djservice[torch]', on the workers too."
            ) from error
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return self.network(features).double().eval()


def _flat(module: Any) -> Floats:
    return np.concatenate([values.detach().numpy().ravel() for values in module.parameters()])
