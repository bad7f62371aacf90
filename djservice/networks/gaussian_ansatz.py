"""Training of the Gaussian Ansatz, T(x, z) = A + (z - B) D + (z - B)^2 C / 2."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn
from torch.nn.functional import softplus

from djservice.core.progress import Watch
from djservice.core.torch_vector import one_thread
from djservice.core.typing import Floats
from djservice.errors import RunError
from djservice.networks.moment_efn import dense
from djservice.networks.training import TRAIN

#: Share of the events that are held back, and how many other true values each of these meets.
HELD_BACK, OTHERS = 0.2, 64
#: Largest batch, and the smallest number of batches of an epoch.
BATCH, BATCHES = 2048, 16
#: Widths of the hidden layers.
WIDTHS = (32, 32, 32)
#: Epochs in which B alone is trained to the truth, learning rate, and weight of the mean of |D|.
FIRST, LEARNING_RATE, PENALTY = 3, 5e-3, 0.1

Networks = dict[str, list[tuple[Floats, Floats]]]


class GaussianAnsatz(nn.Module):
    """T(x, z) with C(x, z) = -flattest - softplus, so that T has a maximum in z."""

    def __init__(self, features: int, flattest: float) -> None:
        super().__init__()
        self.flattest = flattest
        self.A, self.B, self.D = (dense(features, *WIDTHS, 1) for _ in range(3))
        self.C = dense(features + 1, *WIDTHS, 1)

    def forward(self, x: torch.Tensor, *truths: torch.Tensor) -> list[torch.Tensor]:
        """T of the same x with each of several z, then D(x)."""
        a, b, d = self.A(x), self.B(x), self.D(x)
        values = []
        for z in truths:
            away = z - b
            curvature = self.flattest + softplus(self.C(torch.cat([x, z], dim=1)))
            values.append(a + away * d - 0.5 * away * away * curvature)
        return [*values, d]


def fit(
    table: Floats, flattest: float, epochs: int, seed: int, watch: Watch
) -> tuple[Networks, float, float]:
    """Weights of B, C and D, the information in nats and its error.

    Parameters
    ----------
    table
        Observables and, in the last column, the truth, of mean 0 and variance 1.
    flattest
        Smallest -C.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(table), generator=generator)
    data = torch.from_numpy(table)[order].float()
    held, kept = data.split([int(HELD_BACK * len(data)), len(data) - int(HELD_BACK * len(data))])
    with torch.random.fork_rng(devices=[]), one_thread():
        torch.manual_seed(seed)
        model = GaussianAnsatz(table.shape[1] - 1, flattest)
        _train(model, kept, epochs, generator, watch)
        model.double()
        information, error = _information(model, held.double())
    networks = {
        name: [
            (layer.weight.detach().numpy().copy(), layer.bias.detach().numpy().copy())
            for layer in getattr(model, name)
            if isinstance(layer, nn.Linear)
        ]
        for name in "BCD"
    }
    if not all(np.isfinite(array).all() for name in "BCD" for p in networks[name] for array in p):
        raise RunError("the training did not converge. Leave out extreme values, or take a seed.")
    return networks, information, error


def _train(
    model: GaussianAnsatz,
    data: torch.Tensor,
    epochs: int,
    generator: torch.Generator,
    watch: Watch,
) -> None:
    batch = min(BATCH, len(data) // BATCHES)
    steps = len(data) // batch
    watch.phase(TRAIN, FIRST + epochs, 0)
    for parameters, count, loss_of in (
        (model.B.parameters(), FIRST, _squared_error),
        (model.parameters(), epochs, _bound),
    ):
        optimiser = torch.optim.Adam(parameters, lr=LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, count * steps)
        for _ in range(count):
            order = torch.randperm(len(data), generator=generator)
            for chosen in order[: steps * batch].split(batch):
                optimiser.zero_grad()
                loss_of(model, data[chosen]).backward()
                optimiser.step()
                schedule.step()
            watch.step({})


def _squared_error(model: GaussianAnsatz, rows: torch.Tensor) -> torch.Tensor:
    return (model.B(rows[:, :-1]) - rows[:, -1:]).square().mean()


def _bound(model: GaussianAnsatz, rows: torch.Tensor) -> torch.Tensor:
    """The negative bound on the information and the penalty of D.

    A shift by one place gives every event the truth of another; a random order would keep some.
    """
    x, z = rows[:, :-1], rows[:, -1:]
    joint, other, slope = model(x, z, z.roll(1, 0))
    partition = torch.logsumexp(other, dim=0)[0] - math.log(len(rows))
    return partition - joint.mean() + PENALTY * slope.abs().mean()


def _information(model: GaussianAnsatz, rows: torch.Tensor) -> tuple[float, float]:
    """The bound on held-back events, and its standard error over events.

    The second term is a mean over pairs of events, so its error comes from the means over the pairs
    that an event is in.
    """
    x, z = rows[:, :-1], rows[:, -1:]
    shifts = range(1, min(OTHERS, len(rows) - 1) + 1)
    with torch.no_grad():
        joint, *others, _ = model(x, z, *(z.roll(shift, 0) for shift in shifts))
    largest = max(float(other.max()) for other in others)
    of_x = of_z = torch.zeros_like(joint)
    for shift, other in zip(shifts, others, strict=True):
        weight = (other - largest).exp() / len(shifts)
        of_x, of_z = of_x + weight, of_z + weight.roll(-shift, 0)
    mean = of_x.mean()
    influence = joint - (of_x + of_z) / mean
    value = joint.mean() - mean.log() - largest
    return float(value), float(influence.std() / math.sqrt(len(rows)))
