"""Training of a network as a classifier of jets, and the probabilities that it gives."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch.nn.functional import cross_entropy

from djservice.core.bounds import require, require_number
from djservice.core.notebook import shown
from djservice.core.progress import Watch
from djservice.core.torch_vector import one_thread
from djservice.core.typing import Floats
from djservice.errors import InputError, RunError
from djservice.networks.moment_efn import MomentEFN

#: Phase of a training, in the protocol of progress.
TRAIN = "train"
#: Fewest jets of each class, and the share of all jets that is held back.
FEWEST, HELD_BACK = 10, 0.2
#: Jets that are evaluated together.
BLOCK = 512


@dataclass(frozen=True)
class Training:
    """Losses of a training: cross-entropy in nats, one number for each epoch.

    Attributes
    ----------
    loss
        Mean over the jets that were trained on, while they were.
    held_back_loss
        Mean over the jets that were held back, at the end of each epoch.
    best
        Epoch with the smallest held-back loss, from 0, whose parameters the network has.
    """

    loss: Floats
    held_back_loss: Floats
    best: int


def train(
    network: MomentEFN,
    particles: ArrayLike,
    labels: ArrayLike,
    mask: ArrayLike | None = None,
    *,
    epochs: int = 30,
    batch: int = 128,
    learning_rate: float = 2e-3,
    seed: int = 0,
    watch: Watch | None = None,
) -> Training:
    """Train a network to tell classes of jets apart, by cross-entropy.

    Adam, with a learning rate that falls as a cosine. A fifth of the jets is held back, and the
    network keeps the parameters of the epoch with the smallest loss on them. One thread is used, so
    the same seed gives the same numbers on the same kind of processor.

    Parameters
    ----------
    network
        Its parameters are changed in place. It has one output for each class.
    particles, mask
        See :meth:`MomentEFN.forward`; NumPy arrays or tensors.
    labels
        Shape (jet,): number of the class of each jet, from 0.
    epochs, batch, learning_rate
        Passes over the jets, jets of a step, and largest learning rate.
    seed
        Seed of the choice of jets held back and of the order of jets.
    watch
        Receives the progress, an epoch at a time; a display on standard error by default.

    Raises
    ------
    InputError
        If a shape, a type or a number has no meaning, a momentum is not finite, there is one class
        only, or a class has fewer than ten jets.
    RunError
        If the loss is no longer finite.
    """
    x, inside = _checked_jets(particles, mask)
    y = _checked_labels(labels, len(x), network.outputs)
    for name, value in (("epochs", epochs), ("batch", batch)):
        require("iterations", value, of=name)
    require("seed", seed)
    require_number("learning_rate", learning_rate)
    generator = torch.Generator().manual_seed(seed)
    held = _held_back(y, generator)
    kept = torch.nonzero(~held)[:, 0]
    optimiser = torch.optim.Adam(network.parameters(), lr=learning_rate)
    steps = epochs * -(-len(kept) // batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    losses, held_losses, best = [], [], copy.deepcopy(network.state_dict())
    with one_thread(), shown(watch) as display:
        display.phase(TRAIN, epochs, 0)
        for epoch in range(epochs):
            order = kept[torch.randperm(len(kept), generator=generator)]
            losses.append(_epoch(network, optimiser, schedule, x, inside, y, order.split(batch)))
            held_loss, error = _loss(network, x[held], inside[held], y[held])
            held_losses.append(held_loss)
            _check_finite(losses[-1] + held_loss, epoch, learning_rate)
            if held_loss == min(held_losses):
                best = copy.deepcopy(network.state_dict())
            display.step({"loss": held_loss, "loss_error": error})
    network.load_state_dict(best)
    return Training(np.array(losses), np.array(held_losses), int(np.argmin(held_losses)))


def probabilities(
    network: MomentEFN, particles: ArrayLike, mask: ArrayLike | None = None
) -> Floats:
    """Probability of each class, shape (jet, class).

    Raises
    ------
    InputError
        If a shape or a type is wrong, or a momentum is not finite.
    """
    x, inside = _checked_jets(particles, mask)
    with one_thread(), torch.no_grad():
        outputs = [
            network(*_trimmed(*jets)).double().softmax(dim=-1)
            for jets in zip(x.split(BLOCK), inside.split(BLOCK), strict=True)
        ]
    return np.asarray(torch.cat(outputs))


def _trimmed(particles: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The columns up to the last particle of any of the jets."""
    columns = torch.nonzero(mask.any(dim=0))
    longest = int(columns[-1]) + 1 if len(columns) else 1
    return particles[:, :longest], mask[:, :longest]


def _epoch(
    network: MomentEFN,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    particles: torch.Tensor,
    mask: torch.Tensor,
    labels: torch.Tensor,
    batches: Sequence[torch.Tensor],
) -> float:
    """One step for each batch of jets; their mean loss."""
    total = 0.0
    for jets in batches:
        loss = cross_entropy(network(*_trimmed(particles[jets], mask[jets])), labels[jets])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        total += loss.item() * len(jets)
    return total / sum(len(jets) for jets in batches)


def _loss(
    network: MomentEFN, particles: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor
) -> tuple[float, float]:
    """Mean loss of jets and its standard error."""
    blocks = zip(particles.split(BLOCK), mask.split(BLOCK), labels.split(BLOCK), strict=True)
    with torch.no_grad():
        losses = torch.cat(
            [
                cross_entropy(network(*_trimmed(x, inside)), y, reduction="none")
                for x, inside, y in blocks
            ]
        ).double()
    return float(losses.mean()), float(losses.std()) / len(losses) ** 0.5


def _held_back(labels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """The same share of each class, drawn at random."""
    held = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        members = torch.nonzero(labels == label)[:, 0]
        order = torch.randperm(len(members), generator=generator)
        held[members[order[: max(1, int(HELD_BACK * len(members)))]]] = True
    return held


def _checked_jets(
    particles: ArrayLike, mask: ArrayLike | None
) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.as_tensor(particles)
    if x.ndim != 3 or x.shape[-1] != 4 or not len(x):
        raise InputError(
            f"particles have the shape {tuple(x.shape)}, expected (jet, particle, 4) with one jet or "
            "more: px, py, pz and E in GeV."
        )
    inside = torch.ones(x.shape[:-1], dtype=torch.bool) if mask is None else torch.as_tensor(mask)
    if inside.shape != x.shape[:-1] or inside.dtype != torch.bool:
        raise InputError(
            f"the mask is {inside.dtype} of shape {tuple(inside.shape)}, expected bool of shape "
            f"{tuple(x.shape[:-1])}, as the particles have."
        )
    wrong = torch.nonzero((~torch.isfinite(x)).any(dim=-1) & inside)
    if len(wrong):
        jet, particle = wrong[0].tolist()
        raise InputError(
            f"jet {jet}, particle {particle}: the momentum is {x[jet, particle].tolist()}, expected "
            "finite numbers. Mask what is no particle."
        )
    return x, inside


def _checked_labels(labels: ArrayLike, jets: int, classes: int) -> torch.Tensor:
    y = torch.as_tensor(labels)
    if y.shape != (jets,) or y.is_floating_point() or y.is_complex():
        raise InputError(
            f"labels are {y.dtype} of shape {tuple(y.shape)}, expected whole numbers of shape "
            f"({jets},): the class of each jet."
        )
    y = y.long()
    if int(y.min()) < 0 or int(y.max()) >= classes:
        raise InputError(
            f"labels go from {int(y.min())} to {int(y.max())}, expected 0 to {classes - 1}: the "
            f"network has {classes} outputs."
        )
    counts = torch.bincount(y, minlength=classes).tolist()
    if classes < 2 or min(counts) < FEWEST:
        raise InputError(
            f"the classes have {counts} jets, expected two classes or more with at least {FEWEST} "
            "jets each."
        )
    return y


def _check_finite(loss: float, epoch: int, learning_rate: float) -> None:
    if not np.isfinite(loss):
        raise RunError(
            f"the loss is not finite in epoch {epoch}. Take a learning rate below {learning_rate:g}."
        )
