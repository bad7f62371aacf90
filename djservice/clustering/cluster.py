"""cluster(batch, ...) -> TreeSample: stochastic generalised-kT clustering of every event, many trees each."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from djservice.clustering.device import Device, gpu, memory_for
from djservice.clustering.kernels.grow import Batch, Given, Results
from djservice.clustering.kernels.scores import HIGH, LOW, POWER, RHO, RIGIDITY, SLOPES
from djservice.clustering.kernels.tree import BAD_HISTORY, NO_DISTANCE, ZERO_PT, Setting
from djservice.clustering.on_cpu import grow_on_cpu
from djservice.clustering.particle_order import ranks, rename, sorted_particles
from djservice.clustering.radius import Radius, VariableR, reaches
from djservice.clustering.tree_job import Job, NoRoomError, TreeFailure
from djservice.clustering.trees import TRACE_FIELDS, TreeSample
from djservice.clustering.unpack import flips_of, per_parameter, states_of, with_physical_score
from djservice.core.typing import Floats
from djservice.errors import ClusteringError, DeviceError, InputError
from djservice.events.batch import EventBatch, check_counts
from djservice.events.keys import draw_keys

Scale = Literal["minimum", "safe"]
Flips = bool | Literal["all"]


def cluster(
    events: EventBatch,
    *,
    radius: Radius,
    rigidity: float,
    power: float = -1.0,
    trees: int = 1,
    jets: int = 2,
    seed: int = 0,
    stream: str = "sample",
    iteration: int = 0,
    first_tree: int = 0,
    scale: Scale = "minimum",
    asymmetry: float = 1.0,
    history: bool = False,
    trace: bool = False,
    settled_pt: float | None = None,
    parameters: tuple[str, ...] = (),
    states: bool = False,
    flips: Flips | Floats = False,
    threads: int | None = None,
    device: Device = "auto",
    on_device: bool = False,
) -> TreeSample:
    """Sample clusterings of every event.

    Parameters
    ----------
    events
        The particles.
    radius
        R: one number, one per event, or a :class:`djservice.VariableR`.
    rigidity
        alpha > 0; ``math.inf`` is the deterministic algorithm: FastJet's jets, and one tree is enough.
    power
        p: -1 anti-kT, 0 Cambridge/Aachen, 1 kT, or any other number.
    trees
        Trees per event. Tree k is the same however many there are.
    jets
        How many leading jets to return per tree.
    seed, stream, iteration, first_tree
        What the random numbers are keyed by, with the identity of the event; ``first_tree`` is the number of the first.
    scale, asymmetry
        "minimum", the published scale, or "safe", the infrared-safe one with its exponent q > 0.
    history, trace
        Keep every merge, and the numbers of every step: (particles x trees) rows of memory each.
    settled_pt
        Stop a tree as soon as no jet that can still form is both above this pT (GeV) and among the ``jets`` leading
        ones. Leading jets above it are the same as those of the whole tree; the score is that of the steps taken, and
        E[f score] is the same for every f of those jets, for later scores are independent of f with mean 0.
    parameters
        What the score is differentiated in: any of "radius", "rigidity" and "power" (not at p = 0, where there is no
        derivative), or with variable-R jets of "rho", "radius_min", "radius_max", "rigidity" and "power". The first by
        default; R alone costs nothing.
    states
        Keep, from the first jet above ``settled_pt`` on, what the leading jets would be if the tree ended at once, and
        the score of the steps that begin in each such state: what a state baseline needs.
    flips
        True: find an alternative path for each tree; "all": one for each of its steps that can flip, (particles x trees) rows of
        memory. Or some of those of the same call, shape (event, tree, 4): grow the trees along them, with the same random
        numbers before and after the step that is flipped.
    threads
        Threads to share the (event, tree) pairs; all processors by default. The trees do not depend on it.
    device
        "cpu", "cuda", or "auto": a GPU if there is one. The trees are the same but for rounding, see docs/gpu.md.
    on_device
        Leave what a GPU gives there: the arrays of the sample are then CuPy's. Not with ``history`` or ``trace``.

    Raises
    ------
    InputError
        If an argument has no meaning.
    ClusteringError
        If, with power < 0, momenta cancel to a sum without pT; the message names the event.
    DeviceError
        If there is no GPU with device "cuda", or its memory does not hold the trees of one event, or of all if they stay there.

    References
    ----------
    Qanti-kT: arXiv:1304.2394; Qjets: arXiv:1201.1914.
    """
    _check(events, radius, rigidity, power, trees, jets, scale, asymmetry)
    if settled_pt is not None and (history or trace or not settled_pt >= 0):
        raise InputError(f"settled_pt is {settled_pt}, expected 0 GeV or more, and no history or trace.")
    if on_device and (history or trace):
        raise InputError(
            "on_device is for jets, scores, states and flips; histories and traces are brought to the host."
        )
    kept: Flips = flips if isinstance(flips, (bool, str)) else False
    forced = np.empty((0, 4)) if isinstance(flips, (bool, str)) else np.reshape(flips, (-1, 4))
    if not isinstance(flips, (bool, str)) and len(forced) != len(events) * trees:
        raise InputError(f"flips are those of {len(forced)} trees, expected one for each of {len(events) * trees}.")
    columns = _columns(radius, power, parameters)
    order, particles = sorted_particles(events, power)
    with memory_for(f"{trees} trees of each of {len(events)} events", device):
        sample = _grow(
            events,
            particles,
            reaches(events, radius),
            _setting(columns, rigidity, power, scale, asymmetry, settled_pt),
            columns,
            draw_keys(events.key, seed, stream),
            (iteration, first_tree),
            (trees, jets),
            Given(np.empty((0, 2), np.int32), forced),
            Wanted(history, trace, states, kept),
            threads,
            device,
            on_device,
        )
    if sample.history is not None:
        rename(sample.history, order, events.offsets, trees)
    return sample


def replay(
    events: EventBatch,
    history: ArrayLike,
    *,
    radius: Radius,
    rigidity: float,
    power: float = -1.0,
    jets: int = 2,
    scale: Scale = "minimum",
    asymmetry: float = 1.0,
    trace: bool = False,
    parameters: tuple[str, ...] = (),
    threads: int | None = None,
    device: Device = "auto",
) -> TreeSample:
    """Follow given histories and return their log-probability and score with these parameters.

    Parameters
    ----------
    history
        ``TreeSample.history`` of the same events; or, for a batch of one event, shape (tree, n, 2).
    radius, rigidity, power, jets, scale, asymmetry, trace, parameters, threads, device
        As in :func:`cluster`; the rigidity is finite.

    Raises
    ------
    InputError
        If a history does not belong to the events.
    """
    rows = np.array(history, dtype=np.int32).reshape(-1, 2)
    particles_all = len(events.pt)
    trees = len(rows) // particles_all if particles_all else 0
    if trees == 0 or len(rows) != trees * particles_all:
        raise InputError(f"expected a history of {particles_all} rows for each tree, found {len(rows)} rows.")
    _check(events, radius, rigidity, power, trees, jets, scale, asymmetry)
    if math.isinf(rigidity):
        raise InputError("expected a finite rigidity: at infinity a history has probability 0 or 1.")
    columns = _columns(radius, power, parameters)
    order, particles = sorted_particles(events, power)
    rename(rows, ranks(order, events.offsets), events.offsets, trees)
    with memory_for(f"{trees} trees of each of {len(events)} events", device):
        return _grow(
            events,
            particles,
            reaches(events, radius),
            _setting(columns, rigidity, power, scale, asymmetry, None),
            columns,
            events.key,
            (0, 0),
            (trees, jets),
            Given(rows, np.empty((0, 4))),
            Wanted(history=False, trace=trace, states=False, flips=False),
            threads,
            device,
            on_device=False,
        )


def _setting(
    columns: dict[str, int], rigidity: float, power: float, scale: Scale, asymmetry: float, settled_pt: float | None
) -> Setting:
    return Setting(
        power=float(power),
        rigidity=float(rigidity),
        asymmetry=float(asymmetry) if scale == "safe" else 0.0,
        settled_pt=float(settled_pt or 0.0),
        stops=settled_pt is not None,
        main=next(iter(columns.values())),
        sharp=math.isinf(rigidity),
        wide=_is_wide(columns),
    )


def _check(
    events: EventBatch,
    radius: Radius,
    rigidity: float,
    power: float,
    trees: int,
    jets: int,
    scale: str,
    asymmetry: float,
) -> None:
    reaches(events, radius)
    check_counts(events)
    if not rigidity > 0:
        raise InputError(
            f"rigidity is {rigidity}, expected a positive number, or infinity for the deterministic algorithm."
        )
    if not math.isfinite(power):
        raise InputError(f"power is {power}, expected a finite number (-1 for anti-kT).")
    if trees < 1 or jets < 1:
        raise InputError(f"expected at least one tree and one jet, found trees={trees} and jets={jets}.")
    if scale not in ("minimum", "safe"):
        raise InputError(f"scale is {scale!r}, expected 'minimum' or 'safe'.")
    if scale == "safe" and not (math.isfinite(asymmetry) and asymmetry > 0):
        raise InputError(f"asymmetry is {asymmetry}, expected a positive, finite number.")


#: Names of the parameters with a constant R and with variable-R jets, and their columns among the kernel's slopes.
CONSTANT_R = {"radius": LOW, "rigidity": RIGIDITY, "power": POWER}
VARIABLE_R = {"rho": RHO, "radius_min": LOW, "radius_max": HIGH, "rigidity": RIGIDITY, "power": POWER}


def _columns(radius: Radius, power: float, parameters: tuple[str, ...]) -> dict[str, int]:
    """The parameters asked for, or the first that there is, with their columns."""
    known = VARIABLE_R if isinstance(radius, VariableR) else CONSTANT_R
    names = parameters or (next(iter(known)),)
    unknown = sorted(set(names) - set(known))
    if unknown or isinstance(parameters, str) or len(set(names)) < len(names):
        raise InputError(f"parameters is {parameters!r}, expected a tuple of different names among {', '.join(known)}.")
    if "power" in names and power == 0.0:
        raise InputError("there is no derivative in the power at power = 0, where min(d_i, d_j) has a kink.")
    return {name: known[name] for name in names}


def _is_wide(columns: dict[str, int]) -> bool:
    """Whether the kernel has to keep the scores in all parameters, and not that in R alone."""
    return tuple(columns) != ("radius",)


class Wanted(NamedTuple):
    """What is kept beside jets and scores."""

    history: bool
    trace: bool
    states: bool
    flips: Flips


def _grow(
    events: EventBatch,
    particles: Floats,
    reach: Floats,
    setting: Setting,
    columns: dict[str, int],
    keys: NDArray[np.uint64],
    numbering: tuple[int, int],
    shape: tuple[int, int],
    given: Given,
    wanted: Wanted,
    threads: int | None,
    device: Device,
    on_device: bool,
) -> TreeSample:
    """Run the kernel over all (event, tree)."""
    there = gpu(device)
    (iteration, first_tree), (trees, jets) = numbering, shape
    items, rows = len(events) * trees, len(particles) * trees
    width = SLOPES if setting.wide else 1
    module = there.arrays if there is not None and on_device else np
    results = Results(
        jets=module.empty((items, jets, 4)),
        history=module.empty((rows if wanted.history else 0, 2), np.int32),
        trace=module.empty((rows if wanted.trace else 0, len(TRACE_FIELDS))),
        scores=module.empty((items, width)),
        numbers=module.empty((items, 4)),
        flips=module.empty((items if wanted.flips is True else 0, 4)),
        all_flips=module.empty((rows if wanted.flips == "all" else 0, 4)),
    )
    batch = Batch(particles, events.offsets, reach, keys)
    job = Job(batch, setting, trees, first_tree, iteration, given, results, wanted.states)
    try:
        if there is None:
            states = grow_on_cpu(job, threads)
            owners = [np.repeat(np.arange(items), results.numbers[:, 3].astype(np.int64))] if wanted.states else []
        else:
            from djservice.clustering.on_gpu import grow_on_gpu

            found = grow_on_gpu(job, there)
            owners, states = [items for items, *_ in found], [(jets, scores) for _, jets, scores in found]
    except TreeFailure as failure:
        raise _failure(failure.status, events, *divmod(failure.item, trees)) from None
    except NoRoomError as lack:
        raise DeviceError(
            f"{events.name(lack.event)}: its {events.counts[lack.event]} particles and {trees} trees need "
            f"{lack.needed / 1e9:.3g} GB of the GPU's memory, {lack.free / 1e9:.3g} GB are free. Ask for fewer trees at once or "
            "a higher pt_min, or use device='cpu'."
        ) from None
    physical = module.asarray(per_parameter(reach)[:, list(columns.values())])
    chosen = list(columns.values()) if setting.wide else [0]
    per_tree = (len(events), trees)
    return TreeSample(
        momenta=results.jets.reshape(*per_tree, jets, 4),
        scores=results.scores[:, chosen].reshape(*per_tree, len(chosen)) * physical[:, np.newaxis],
        parameters=tuple(columns),
        numbers=results.numbers.reshape(*per_tree, 4),
        states=states_of(states, np.concatenate(owners), chosen, physical, trees) if wanted.states else None,
        flips=flips_of(
            results.flips, results.all_flips if wanted.flips == "all" else None, events, physical[:, 0], trees
        )
        if wanted.flips
        else None,
        history=results.history if wanted.history else None,
        trace=with_physical_score(results.trace, physical[:, 0], events.counts * trees) if wanted.trace else None,
        deterministic=math.isinf(setting.rigidity),
        stopped=setting.stops,
        offsets=events.offsets,
    )


def _failure(status: int, events: EventBatch, event: int, tree: int) -> Exception:
    if status == ZERO_PT:
        return ClusteringError(
            f"{events.name(event)}, tree {tree}: two objects add up to pT = 0, where d = pT^(2p) is infinite for p < 0. "
            "Remove the event, or use power >= 0."
        )
    if status == NO_DISTANCE:
        return ClusteringError(
            f"{events.name(event)}, tree {tree}: all distances that are left are infinite: a pT so small that pT^(2p) overflows, "
            "or 0 with variable-R jets, whose R is then infinite. Remove such particles (pt_min), or give a finite radius_max."
        )
    assert status == BAD_HISTORY
    return InputError(f"{events.name(event)}, tree {tree}: the history names an object that is not there at that step.")
