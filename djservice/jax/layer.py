"""Expectations, clusterings and their derivatives as functions of JAX's arrays."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple, Unpack

import numpy as np

from djservice.clustering.sampling import GrowthKeywords, takes_growth
from djservice.errors import InputError, MissingPackageError
from djservice.layers import trees as core
from djservice.layers.arguments import check_baseline, check_losses, fewest_trees, number
from djservice.layers.keys import check_identity, default_identity, event_identity, seed_halves
from djservice.layers.padded import check_shapes

try:
    import jax
    import jax.numpy as jnp
except ImportError as error:
    raise MissingPackageError("djservice.jax needs JAX: pip install 'djservice[jax]'.") from error


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

    jets: jax.Array
    log_prob: jax.Array
    constituents: jax.Array


@takes_growth
def expectation(
    f: Callable[[jax.Array], jax.Array],
    particles: jax.Array,
    mask: jax.Array | None = None,
    *,
    radius: Any,
    rigidity: Any = 1.0,
    trees: int = 20,
    jets: int = 2,
    identity: Any = None,
    seed: Any = 0,
    **growth: Unpack[GrowthKeywords],
) -> jax.Array:
    """Mean of a function of the jets over clusterings of each event, with its right derivative.

    The derivative is unbiased in the particles, in JAX arrays ``radius`` and ``rigidity``, and
    in whatever f reads: the pathwise part and the score part with the leave-one-out baseline.

    Parameters
    ----------
    f
        Takes jets of shape (..., tree, jet, 4) as in :class:`Clusterings` and returns one number
        for each tree, shape (..., tree).
    particles, mask, radius, rigidity, trees, jets, identity, seed, growth
        See :func:`cluster`. Trees end once their leading jets are settled, so they cost half.

    Returns
    -------
    jax.Array
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
    particles: jax.Array,
    mask: jax.Array | None = None,
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
        R and alpha, each one number or one per event, shape (...). JAX arrays have derivatives.
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
    ``jit``, ``grad`` and ``vmap`` work, in 32 bits too. There is no forward mode, so no ``jvp``,
    ``jacfwd`` or ``hessian``. Arrays on a GPU are copied to the host and back. Inside ``jit`` and
    ``vmap`` values are seen late, so a bad event is a ``JaxRuntimeError`` with the same message.
    ``vmap`` gives all events the same default identity.
    """
    return _cluster(
        particles, mask, radius, rigidity, trees, jets, identity, seed, complete=True, **growth
    )


def surrogate(
    loss: jax.Array,
    log_prob: jax.Array,
    baseline: Literal["leave_one_out"] | None = "leave_one_out",
) -> jax.Array:
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
    excess = jax.lax.stop_gradient(loss)
    if baseline is not None:
        n = loss.shape[-1]
        excess = (excess - excess.mean(axis=-1, keepdims=True)) * (n / (n - 1))
    return (loss + excess * (log_prob - jax.lax.stop_gradient(log_prob))).mean(axis=-1)


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
    if not isinstance(particles, (jax.Array, np.ndarray)):
        raise InputError(f"particles are {type(particles).__name__}, expected an array.")
    if mask is None:
        mask = np.ones(particles.shape[:-1], np.bool_)
    learned = isinstance(rigidity, jax.Array)
    settings = core.Settings.of(trees, jets, learned, complete, **growth)
    radius, rigidity = (
        _number(x, name) for x, name in ((radius, "radius"), (rigidity, "rigidity"))
    )
    mask = mask if isinstance(mask, jax.Array) else np.asarray(mask)
    leading = check_shapes(particles, mask, radius, rigidity)
    operands = [
        particles,
        mask,
        jnp.broadcast_to(radius, leading),
        jnp.broadcast_to(rigidity, leading),
        _keys(identity, seed, leading),
    ]
    return Clusterings(*_trees(settings, *map(jnp.asarray, operands)))


def _number(value: Any, name: str) -> jax.Array:
    """A number or an array of them as floats."""
    array = value if isinstance(value, jax.Array) else jnp.asarray(number(value, name))
    return array if array.dtype in (jnp.float32, jnp.float64) else array.astype(float)


def _keys(identity: Any, seed: Any, leading: tuple[int, ...]) -> jax.Array:
    """Halves of identities and seed, shape (..., 4)."""
    if identity is None:
        identity = default_identity(leading)
    elif isinstance(identity, tuple) and len(identity) == 3:
        if any(isinstance(part, jax.core.Tracer) for part in identity):
            raise InputError(
                "identity holds numbers that are not known yet, and may have more than 32 bits. "
                "Make the identity with event_identity, outside of jit and vmap."
            )
        identity = event_identity(*(np.asarray(part) for part in identity))
    check_identity(identity, leading)
    if isinstance(seed, jax.core.Tracer):
        low = jnp.asarray(seed).astype(jnp.uint32)
        halves = jnp.stack([jnp.zeros_like(low), low])
    else:
        halves = seed_halves(seed.item() if isinstance(seed, jax.Array) else seed)
    seeds = jnp.broadcast_to(halves, (*leading, 2))
    return jnp.concatenate([jnp.asarray(identity).astype(jnp.uint32), seeds], axis=-1)


def _called(function: Callable[..., Any], results: Any, arrays: tuple[Any, ...]) -> Any:
    """A function of NumPy arrays: called at once, or later where values are not known yet."""

    def on_host(*values: Any) -> Any:
        return function(*(np.asarray(value) for value in values))

    if any(isinstance(array, jax.core.Tracer) for array in arrays):
        return jax.pure_callback(on_host, results, *arrays, vmap_method="broadcast_all")
    return tuple(jnp.asarray(array) for array in on_host(*arrays))


def _grown(settings: core.Settings, *inputs: jax.Array) -> Any:
    kinds = (inputs[0].dtype, inputs[0].dtype, jnp.int32, inputs[0].dtype)
    results = tuple(map(jax.ShapeDtypeStruct, settings.shapes(inputs[0].shape), kinds))
    return _called(lambda *arrays: core.grow(settings, core.Inputs(*arrays)), results, inputs)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _trees(settings: core.Settings, *inputs: jax.Array) -> Any:
    """Jets, log-probabilities and constituents."""
    return _grown(settings, *inputs)[:3]


def _forward(settings: core.Settings, *inputs: jax.Array) -> Any:
    jets, log_prob, constituents, scores = _grown(settings, *inputs)
    return (jets, log_prob, constituents), (inputs, jets, scores)


def _backward(settings: core.Settings, kept: Any, cotangents: Any) -> Any:
    inputs, *rest = kept
    particles, _, radius, rigidity, _ = inputs
    results = tuple(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in (particles, radius, rigidity))

    def pull_back(*arrays: Any) -> Any:
        return core.pull_back(settings, core.Inputs(*arrays[:5]), *arrays[5:])

    derivatives = _called(pull_back, results, (*inputs, *rest, *cotangents[:2]))
    return derivatives[0], None, derivatives[1], derivatives[2], None


_trees.defvjp(_forward, _backward)
