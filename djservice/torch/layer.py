"""Expectations, clusterings and their derivatives as functions of PyTorch's tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Unpack

import numpy as np

from djservice.clustering.sampling import GrowthKeywords, takes_growth
from djservice.errors import InputError, MissingPackageError
from djservice.layers import trees as core
from djservice.layers.arguments import check_baseline, check_losses, fewest_trees, number
from djservice.layers.keys import check_identity, default_identity, event_identity, seed_halves
from djservice.layers.padded import check_shapes

try:
    import torch
except ImportError as error:
    raise MissingPackageError(
        "djservice.torch needs PyTorch: pip install 'djservice[torch]'."
    ) from error


class Clusterings(NamedTuple):
    """Sampled clusterings of padded events.

    Attributes
    ----------
    jets
        Shape (..., tree, jet, 4): px, py, pz and E of the leading jets in GeV, in falling pT; 0
        where a tree has fewer jets.
    log_prob
        Shape (..., tree): log-probability of each tree. Its derivative is the score.
    constituents
        Shape (..., tree, particle), int32: place of the jet of each particle among the leading
        jets; -1 if it is in none of them, or is padding.
    """

    jets: torch.Tensor
    log_prob: torch.Tensor
    constituents: torch.Tensor


@takes_growth
def expectation(
    f: Callable[[torch.Tensor], torch.Tensor],
    particles: torch.Tensor,
    mask: torch.Tensor | None = None,
    *,
    radius: Any,
    rigidity: Any = 1.0,
    trees: int = 20,
    jets: int = 2,
    identity: Any = None,
    seed: Any = 0,
    **growth: Unpack[GrowthKeywords],
) -> torch.Tensor:
    """Mean of a function of the jets over clusterings of each event, with its right derivative.

    The derivative is unbiased in the particles, in tensors ``radius`` and ``rigidity``, and in
    whatever f reads: the pathwise part and the score part with the leave-one-out baseline.

    Parameters
    ----------
    f
        Takes jets of shape (..., tree, jet, 4) as in :class:`Clusterings` and returns one number
        for each tree, shape (..., tree).
    particles, mask, radius, rigidity, trees, jets, identity, seed, growth
        See :func:`cluster`. Trees end once their leading jets are settled, so they cost half.

    Returns
    -------
    torch.Tensor
        Shape (...): the mean of each event.

    Raises
    ------
    InputError
        If there are fewer than two trees at a finite rigidity, f returns another shape, or as in
        :func:`cluster`.
    """
    trees = fewest_trees(trees, rigidity)
    sample = _cluster(
        particles, mask, radius, rigidity, trees, jets, identity, seed, complete=False, **growth
    )
    values = f(sample.jets)
    check_losses(values, sample.log_prob)
    return surrogate(values, sample.log_prob, "leave_one_out" if trees > 1 else None)


@takes_growth
def cluster(
    particles: torch.Tensor,
    mask: torch.Tensor | None = None,
    *,
    radius: Any,
    rigidity: Any = 1.0,
    trees: int = 20,
    jets: int = 2,
    identity: Any = None,
    seed: Any = 0,
    **growth: Unpack[GrowthKeywords],
) -> Clusterings:
    """Sampled clusterings of each event, whose jets and log-probabilities have derivatives.

    The derivative of a mean over trees of a function of the jets is the pathwise part alone, which
    is biased. :func:`surrogate` adds the score part.

    Parameters
    ----------
    particles
        Shape (..., particle, 4), float32 or float64: px, py, pz and E in GeV. Inside, numbers are
        float64.
    mask
        Shape (..., particle), bool, True where there is a particle; all by default. What else
        stands in ``particles`` is not read, and has the derivative 0.
    radius, rigidity
        R and alpha, each one number or one per event, shape (...). Tensors have derivatives.
        ``math.inf`` is the deterministic algorithm, which has no score.
    trees, jets
        Trees per event, and leading jets of each.
    identity
        ``(run, luminosityBlock, event)`` as in :func:`djservice.expectation`, or integers of shape
        (..., 2) from :func:`event_identity`. By default the place of an event in the array.
    seed
        Seed of the random numbers. The same seed, identity and particles give the same trees, so
        take another in each step of a training.
    growth
        power, scale, asymmetry, threads and device (:func:`djservice.cluster`).

    Raises
    ------
    InputError
        If a shape, a type or a value has no meaning. The message names the event.
    ClusteringError
        As in :func:`djservice.cluster`.

    Notes
    -----
    Second derivatives are refused. Tensors on a GPU are copied to the host and back.
    """
    sample: Clusterings = _cluster(
        particles, mask, radius, rigidity, trees, jets, identity, seed, complete=True, **growth
    )
    return sample


def surrogate(
    loss: torch.Tensor,
    log_prob: torch.Tensor,
    baseline: Literal["leave_one_out"] | None = "leave_one_out",
) -> torch.Tensor:
    """Mean over trees of a loss of each tree, whose derivative has the score part too.

    The mean is over the last axis. The construction is DiCE's.

    Parameters
    ----------
    loss
        Shape (..., tree): the loss of each tree.
    log_prob
        Those of the trees, from :func:`cluster`.
    baseline
        "leave_one_out", or None for none, which is noisier.

    Raises
    ------
    InputError
        If the shapes differ, or there is one tree and a baseline.

    References
    ----------
    Foerster et al., arXiv:1802.05098.
    """
    check_losses(loss, log_prob)
    check_baseline(baseline, loss.shape[-1])
    excess = loss.detach()
    if baseline is not None:
        n = loss.shape[-1]
        excess = (excess - excess.mean(dim=-1, keepdim=True)) * (n / (n - 1))
    return (loss + excess * (log_prob - log_prob.detach())).mean(dim=-1)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _cluster(
    particles: Any,
    mask: Any,
    radius: Any,
    rigidity: Any,
    trees: int,
    jets: int,
    identity: Any,
    seed: Any,
    complete: bool,
    **growth: Any,
) -> Clusterings:
    if not isinstance(particles, torch.Tensor):
        raise InputError(f"particles are {type(particles).__name__}, expected a torch.Tensor.")
    device = particles.device
    if mask is None:
        mask = torch.ones(particles.shape[:-1], dtype=torch.bool, device=device)
    learned = isinstance(rigidity, torch.Tensor)
    settings = core.Settings.of(trees, jets, learned, complete, **growth)
    mask = torch.as_tensor(mask, device=device)
    radius, rigidity = (
        _number(x, name) for x, name in ((radius, "radius"), (rigidity, "rigidity"))
    )
    leading = check_shapes(particles, mask, radius, rigidity)
    keys = _keys(identity, seed, leading)
    outputs = _Trees.apply(
        settings, particles, mask, radius.expand(leading), rigidity.expand(leading), keys
    )
    return Clusterings(*outputs[:3])


def _number(value: Any, name: str) -> torch.Tensor:
    """A number or an array of them as a tensor of floats."""
    if not isinstance(value, torch.Tensor):
        value = torch.from_numpy(number(value, name))
    return value if value.dtype in (torch.float32, torch.float64) else value.double()


def _keys(identity: Any, seed: Any, leading: tuple[int, ...]) -> torch.Tensor:
    """Halves of identities and seed, shape (..., 4)."""
    if identity is None:
        identity = default_identity(leading)
    elif isinstance(identity, tuple) and len(identity) == 3:
        identity = event_identity(*(np.asarray(part) for part in identity))
    check_identity(identity, leading)
    if not isinstance(identity, torch.Tensor):
        identity = torch.from_numpy(np.asarray(identity).astype(np.int64))
    halves = seed_halves(seed.item() if isinstance(seed, torch.Tensor) else seed)
    seeds = torch.from_numpy(halves.astype(np.int64)).expand(*leading, 2)
    return torch.cat([identity.cpu().long(), seeds], dim=-1)


def _arrays(*tensors: torch.Tensor) -> Any:
    return (tensor.detach().cpu().numpy() for tensor in tensors)


def _tensors(arrays: Any, like: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return tuple(torch.from_numpy(np.ascontiguousarray(x)).to(like.device) for x in arrays)


class _Mapped(torch.autograd.Function):
    """A function whose arguments, but the settings, may have any leading axes."""

    @classmethod
    def vmap(cls, info: Any, in_dims: Any, settings: Any, *tensors: torch.Tensor) -> Any:
        moved = [
            tensor.expand(info.batch_size, *tensor.shape)
            if axis is None
            else tensor.movedim(axis, 0)
            for tensor, axis in zip(tensors, in_dims[1:], strict=True)
        ]
        outputs = cls.apply(settings, *moved)
        return outputs, (0,) * len(outputs)


class _Trees(_Mapped):
    """Jets, log-probabilities, constituents and scores."""

    @staticmethod
    def forward(settings: core.Settings, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return _tensors(core.grow(settings, core.Inputs(*_arrays(*inputs))), inputs[0])

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        settings, *tensors = inputs
        jets, _, constituents, scores = output
        ctx.settings = settings
        ctx.save_for_backward(*tensors, jets, scores)
        ctx.mark_non_differentiable(constituents, scores)

    @staticmethod
    def backward(ctx: Any, jets_bar: Any, log_prob_bar: Any, *_: Any) -> Any:
        particles, radius, rigidity = _PullBack.apply(
            ctx.settings, *ctx.saved_tensors, jets_bar, log_prob_bar
        )
        return None, particles, None, radius, rigidity, None


class _PullBack(_Mapped):
    """Derivatives in particles, radii and rigidities."""

    @staticmethod
    def forward(settings: core.Settings, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        *inputs, jets, scores, jets_bar, log_prob_bar = _arrays(*tensors)
        arrays = core.pull_back(
            settings, core.Inputs(*inputs), jets, scores, jets_bar, log_prob_bar
        )
        return _tensors(arrays, tensors[0])

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> Any:
        raise InputError("clusterings have no second derivatives; take first ones only.")
