"""``dj.cluster`` and ``dj.replay``: stochastic generalised-kT clustering, many trees per event."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Unpack, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from djservice.clustering.constituents import constituents_of
from djservice.clustering.device import Gpu, gpu, memory_for
from djservice.clustering.kernels.grow import EventArrays, Imposed, Results
from djservice.clustering.kernels.scores import N_SCORES
from djservice.clustering.kernels.sweep import Cotangents
from djservice.clustering.kernels.tree import Setting
from djservice.clustering.limits import check_distances, failure_of
from djservice.clustering.on_cpu import grow_on_cpu
from djservice.clustering.parameters import score_columns
from djservice.clustering.particle_order import ranks, rename, slots_of, sorted_particles
from djservice.clustering.radius import Radius, radius_bounds
from djservice.clustering.rigidities import (
    Rigidity,
    groups_of,
    is_per_event,
    joined_samples,
    refuse_rows,
)
from djservice.clustering.sampling import (
    Flips,
    GrowthKeywords,
    Sampling,
    SamplingKeywords,
    TreeRequest,
    takes_growth,
    takes_sampling,
)
from djservice.clustering.tree_job import NoRoomError, TreeFailure, TreeJob
from djservice.clustering.trees import STATES, TRACE_FIELDS, TreeSample
from djservice.clustering.unpack import flips_of, per_parameter, states_of, with_physical_score
from djservice.core.array_module import array_module
from djservice.core.columns import column
from djservice.core.typing import Floats
from djservice.errors import DeviceError, InputError
from djservice.events.as_events import as_events
from djservice.events.batch import EventBatch
from djservice.events.checks import check_counts
from djservice.events.keys import draw_keys


@takes_sampling
def cluster(
    particles: Any,
    *,
    radius: Radius,
    rigidity: Rigidity,
    trees: int = 1,
    jets: int = 2,
    stream: str = "sample",
    iteration: int = 0,
    first_tree: int = 0,
    history: bool = False,
    trace: bool = False,
    settled_pt: float | None = None,
    parameters: tuple[str, ...] = (),
    states: bool = False,
    flips: Flips | Floats = False,
    on_device: bool = False,
    constituents: bool = False,
    mask: ArrayLike | None = None,
    identity: tuple[ArrayLike, ArrayLike, ArrayLike] | None = None,
    **sampling: Unpack[SamplingKeywords],
) -> TreeSample:
    """Sample clusterings of every event.

    Parameters
    ----------
    particles
        Particles of the events in any form of :func:`djservice.as_events`.
    radius
        R: one number, one per event, or a :class:`djservice.VariableR`.
    rigidity
        alpha > 0, one number or one per event. ``math.inf`` is the deterministic algorithm, which
        gives FastJet's jets; one tree is then enough. Events of one rigidity are sampled together,
        so many different ones take longer.
    sampling
        Keywords that all functions of trees share: power, scale, asymmetry, threads, device, seed
        (:class:`djservice.clustering.sampling.SamplingKeywords`).
    trees
        Trees per event. Tree k does not depend on the number of trees.
    jets
        Number of leading jets returned per tree.
    stream, iteration, first_tree
        Keys of the random numbers, in addition to the seed and the identity of the event.
        ``first_tree`` is the number of the first tree.
    history, trace
        Keep every merge, and the numbers of every step. Each takes (particles x trees) rows of
        memory.
    settled_pt
        Stop a tree as soon as no jet that can still form is both above this pT (GeV) and among the
        ``jets`` leading jets. Leading jets above it are those of the complete tree. The score is
        that of the steps taken. E[f score] is unchanged for every f of those jets, because later
        scores have mean 0 and are independent of f.
    parameters
        Parameters of the score: any of "radius", "rigidity" and "power", or with variable-R jets of
        "rho", "radius_min", "radius_max", "rigidity" and "power". At p = 0 there is no derivative
        in "power". The default is the first one; R alone costs nothing.
    states
        Keep the states of growing trees, which a state baseline needs. From the first jet above
        ``settled_pt`` on, a state holds the leading jets that the tree would have if it ended
        there, and the score of the steps that begin in it.
    flips
        True: find an alternative path for each tree. "all": find one for each step that can flip,
        which takes (particles x trees) rows of memory. An array of shape (event, tree, 4) with
        flips from an identical call: grow the trees along them, with the same random numbers before
        and after the flipped step.
    on_device
        Leave the results of a GPU there; the arrays of the sample are then CuPy's. Not possible
        with ``history`` or ``trace``.
    constituents
        Keep what ``TreeSample.constituents`` needs, 8 bytes for each particle and tree. Histories
        hold that too.
    mask, identity
        Particles that are no padding, and identities of the events; see
        :func:`djservice.as_events`. Without an identity, draws depend on how the input was cut into
        arrays.

    Raises
    ------
    InputError
        If an argument has no meaning.
    ClusteringError
        If momenta cancel to a sum without pT, at power < 0 or with variable-R jets without
        ``radius_max``; the message names the event.
    DeviceError
        If device is "cuda" and there is no GPU, or if its memory cannot hold the trees of one
        event, or all trees with ``on_device``.

    References
    ----------
    Qanti-kT: arXiv:1304.2394; Qjets: arXiv:1201.1914.
    """
    events = as_events(particles, mask, identity=identity)
    request = TreeRequest(
        trees,
        jets,
        stream,
        iteration,
        first_tree,
        history,
        trace,
        settled_pt,
        parameters,
        states,
        flips,
        on_device,
        constituents,
    )
    if not is_per_event(rigidity):
        return sample_trees(events, radius, Sampling(cast(float, rigidity), **sampling), request)
    refuse_rows(
        history=history, trace=trace, flips=flips, constituents=constituents, on_device=on_device
    )
    groups = list(groups_of(events, radius, rigidity))
    samples = [
        sample_trees(some, radii, Sampling(alpha, **sampling), request)
        for _, some, radii, alpha in groups
    ]
    return joined_samples(events, [rows for rows, *_ in groups], samples)


def sample_trees(
    events: EventBatch, radius: Radius, sampling: Sampling, request: TreeRequest
) -> TreeSample:
    """Sample clusterings of every event, like :func:`cluster` but with settings as objects."""
    forced = request.forced_flips
    if not isinstance(request.flips, (bool, str)) and len(forced) != len(events) * request.trees:
        raise InputError(
            f"flips are those of {len(forced)} trees, expected one for each of "
            f"{len(events) * request.trees}."
        )
    order, particles = sorted_particles(events, sampling.power)
    keys = draw_keys(events.key, sampling.seed, request.stream)
    imposed = Imposed(np.empty((0, 2), np.int32), forced)
    sample = grow(events, particles, radius, sampling, request, keys, imposed)
    if sample.history is None:
        return sample
    if request.history:
        rename(sample.history, order, events.offsets, request.trees)
    members = constituents_of(
        events,
        sample.history,
        sample.steps,
        particles,
        order,
        sampling.power,
        request.jets,
        renamed=request.history,
    )
    return replace(sample, members=members, history=sample.history if request.history else None)


@takes_growth
def replay(
    particles: Any,
    history: ArrayLike,
    *,
    radius: Radius,
    rigidity: float,
    jets: int = 2,
    trace: bool = False,
    parameters: tuple[str, ...] = (),
    **sampling: Unpack[GrowthKeywords],
) -> TreeSample:
    """Log-probability and score of the given histories at the given parameters.

    Parameters
    ----------
    particles
        Particles of the events in any form of :func:`djservice.as_events`.
    history
        ``TreeSample.history`` of the same events. For a batch of one event, the shape
        (tree, n, 2) is accepted too.
    radius, rigidity, jets, trace, parameters, sampling
        See :func:`djservice.cluster`. The rigidity must be finite, and no seed is needed.

    Raises
    ------
    InputError
        If a history does not belong to the events.
    """
    events = as_events(particles)
    rows = column(history, "history", "history", whole=True).astype(np.int32)
    if rows.size % 2:
        raise InputError(f"expected a history of two columns, found the shape {rows.shape}.")
    rows = rows.reshape(-1, 2)
    trees = len(rows) // len(events.pt) if len(events.pt) else 0
    if trees == 0 or len(rows) != trees * len(events.pt):
        raise InputError(
            f"expected a history of {len(events.pt)} rows for each tree, found {len(rows)} rows."
        )
    request = TreeRequest(trees, jets, trace=trace, parameters=parameters)
    return follow_trees(events, rows, radius, Sampling(rigidity, **sampling), request)


def follow_trees(
    events: EventBatch,
    history: NDArray[np.int32],
    radius: Radius,
    sampling: Sampling,
    request: TreeRequest,
) -> TreeSample:
    """Follow the histories of the requested trees, like :func:`replay` with settings as objects."""
    if math.isinf(sampling.rigidity):
        raise InputError(
            "expected a finite rigidity: at infinity a history has probability 0 or 1."
        )
    order, particles = sorted_particles(events, sampling.power)
    rows = history.copy()
    rename(rows, ranks(order, events.offsets), events.offsets, request.trees)
    imposed = Imposed(rows, np.empty((0, 4)))
    return grow(events, particles, radius, sampling, request, events.key, imposed)


def grow(
    events: EventBatch,
    particles: Floats,
    radius: Radius,
    sampling: Sampling,
    request: TreeRequest,
    keys: NDArray[np.uint64],
    imposed: Imposed,
    cotangents: Cotangents | None = None,
) -> TreeSample:
    """Run the kernel over all (event, tree); fill the sums of the cotangents, if there are any."""
    bounds, device = radius_bounds(events, radius), gpu(sampling.device)
    check_counts(events)
    check_distances(events, sampling.power)
    columns = score_columns(radius, sampling.power, request.parameters)
    setting = Setting(
        power=float(sampling.power),
        rigidity=float(sampling.rigidity),
        asymmetry=sampling.exponent,
        settled_pt=float(request.settled_pt or 0.0),
        stops=request.settled_pt is not None,
        main=next(iter(columns.values())),
        sharp=math.isinf(sampling.rigidity),
        wide=tuple(columns) != ("radius",),
    )
    with memory_for(f"{request.trees} trees of each of {len(events)} events", sampling.device):
        results = _room(
            len(events), len(particles), request, N_SCORES if setting.wide else 1, device
        )
        batch = EventArrays(
            particles, events.offsets, bounds, keys, slots_of(particles, events.offsets)
        )
        job = TreeJob(
            batch,
            setting,
            request.trees,
            request.first_tree,
            request.iteration,
            imposed,
            results,
            request.states,
            cotangents,
        )
        states, owners = _run(job, events, device, sampling.threads)
        return _sample(events, setting, request, columns, bounds, results, states, owners)


def _room(
    events: int, particles: int, request: TreeRequest, scores: int, device: Gpu | None
) -> Results:
    """Empty arrays for the results, with the given number of scores per tree.

    They are on the device if the results are to stay there.
    """
    items, rows, flips = events * request.trees, particles * request.trees, request.kept_flips
    module = device.arrays if device is not None and request.on_device else np
    return Results(
        jets=module.empty((items, request.jets, 4)),
        history=module.empty((rows if request.keeps_history else 0, 2), np.int32),
        trace=module.empty((rows if request.trace else 0, len(TRACE_FIELDS))),
        scores=module.empty((items, scores)),
        numbers=module.empty((items, 4)),
        flips=module.empty((items if flips is True else 0, 4)),
        all_flips=module.empty((rows if flips == "all" else 0, 4)),
    )


def _run(
    job: TreeJob, events: EventBatch, device: Gpu | None, threads: int | None
) -> tuple[list[Any], list[Any]]:
    """Grow the trees of a job; return the jets and scores of their states, and their items.

    The states come in parts, in the order of the items.
    """
    try:
        if device is None:
            states = grow_on_cpu(job, threads)
            numbers = job.results.numbers
            return states, [
                np.repeat(np.arange(len(numbers)), numbers[:, STATES].astype(np.int64))
            ] if job.states else []
        from djservice.clustering.on_gpu import grow_on_gpu

        parts = grow_on_gpu(job, device)
        return [(jets, scores) for _, jets, scores in parts], [items for items, *_ in parts]
    except TreeFailure as failure:
        raise failure_of(failure.status, events, *divmod(failure.item, job.trees)) from None
    except NoRoomError as error:
        raise DeviceError(
            f"{events.name(error.event)}: its {events.counts[error.event]} particles and "
            f"{job.trees} trees need {error.needed / 1e9:.3g} GB of the GPU's memory, "
            f"{error.free / 1e9:.3g} GB are free. Ask for fewer trees at once or a higher pt_min, "
            "or use device='cpu'."
        ) from None


def _sample(
    events: EventBatch,
    setting: Setting,
    request: TreeRequest,
    columns: dict[str, int],
    bounds: Floats,
    results: Results,
    states: list[Any],
    owners: list[Any],
) -> TreeSample:
    """The sample made of the kernel's results, with scores in R instead of log R."""
    trees, flips = request.trees, request.kept_flips
    physical = array_module(results.scores).asarray(
        per_parameter(bounds)[:, list(columns.values())]
    )
    chosen = list(columns.values()) if setting.wide else [0]
    per_tree, factor = (len(events), trees), physical[:, 0]
    all_flips = results.all_flips if flips == "all" else None
    return TreeSample(
        momenta=results.jets.reshape(*per_tree, request.jets, 4),
        scores=results.scores[:, chosen].reshape(*per_tree, len(chosen)) * physical[:, np.newaxis],
        parameters=tuple(columns),
        numbers=results.numbers.reshape(*per_tree, 4),
        states=states_of(states, np.concatenate(owners), chosen, physical, trees)
        if request.states
        else None,
        flips=flips_of(results.flips, all_flips, events, factor, trees) if flips else None,
        history=results.history if request.keeps_history else None,
        trace=with_physical_score(results.trace, factor, events.counts * trees)
        if request.trace
        else None,
        deterministic=math.isinf(setting.rigidity),
        stopped=setting.stops,
        offsets=events.offsets,
    )
