"""Functions that Dask workers run: pure functions of a bundle of events."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, replace
from typing import Any

import cloudpickle
import numpy as np
from distributed import Reschedule, get_worker
from distributed.worker import thread_state
from numpy.typing import NDArray

from djservice.analysis.emission_sums import EmissionSums, emission_sums
from djservice.clustering.radius import Radius, VariableR
from djservice.core.pieces import looking
from djservice.core.typing import Floats
from djservice.evaluation.evaluate import EvaluationPart, evaluate_each
from djservice.evaluation.joint_gradient import joint_sums
from djservice.evaluation.moments import Moments
from djservice.evaluation.per_event import PerEvent
from djservice.evaluation.targets import Classes
from djservice.evaluation.vector_moments import VectorMoments
from djservice.evaluation.weight_gradient import weight_gradients
from djservice.events.batch import EventBatch
from djservice.events.emissions import Kind
from djservice.events.keys import Keys
from djservice.fit.per_event import PerEventRadii, PerEventSettings, fit_per_event
from djservice.fit.requests import Answer, JointAnswer, Request, RunSetup
from djservice.lund_planes.leading_jets import leading_sums
from djservice.objectives.robust import Robust
from djservice.on_dask.answers import send_answer
from djservice.radius_models.features import Feature, features_of
from djservice.radius_models.prediction import Prediction
from djservice.store.meanings import IDENTITY
from djservice.weight_models.weighting import Weighting, profile


@functools.lru_cache(maxsize=8)
def unpickled(pickled: bytes) -> RunSetup:
    """The setup of a run, unpickled once per worker."""
    setup: RunSetup = cloudpickle.loads(pickled)
    return setup


def stop_if_unwanted() -> None:
    """End the task of this thread if its run no longer waits for it; does nothing elsewhere.

    A long task calls this between its pieces (:mod:`djservice.core.pieces`), because Dask forgets a
    cancelled task but cannot end its thread.

    Raises
    ------
    Reschedule
        If the task is unwanted. Should it be wanted again meanwhile, Dask starts it anew.
    """
    try:
        tasks = get_worker().state.tasks
    except ValueError:  # not on a worker
        return
    task = tasks.get(getattr(thread_state, "key", None))
    if task is not None and task.state == "cancelled":
        raise Reschedule


@dataclass(frozen=True)
class Shares:
    """The shares of the threads of a worker; to Dask one object, which it need not look into.

    Attributes
    ----------
    sizes
        Number of bundles of each thread.
    requests
        Request for each bundle.
    client
        The client that hears the answers.
    """

    sizes: tuple[int, ...]
    requests: list[Request]
    client: str


def in_threads(
    task: Callable[..., list[Any]],
    shares: Shares,
    pickled_setup: bytes,
    bundles: Sequence[EventBatch],
    features: Sequence[NDArray[np.float64] | None] | None,
) -> list[Any]:
    """The answers of a task of this module for several groups of bundles, each in its own thread.

    One Dask task does the work of all threads of a worker. What a task costs the scheduler is then
    paid once for a worker, and not once for a thread.
    """
    key = getattr(thread_state, "key", None)
    ends = np.cumsum(shares.sizes).tolist()
    parts = [slice(end - size, end) for end, size in zip(ends, shares.sizes, strict=True)]
    features = features or [None] * len(bundles)

    def answers(part: slice) -> list[Any]:
        thread_state.key = key  # which stop_if_unwanted looks up
        return task(bundles[part], pickled_setup, shares.requests[part], features[part])

    with ThreadPoolExecutor(len(parts)) as pool:
        groups = [pool.submit(copy_context().run, answers, part) for part in parts]
        joined = [answer for group in groups for answer in group.result()]
    send_answer(shares.client, joined)
    return joined


def evaluate_bundles(
    bundles: Sequence[EventBatch],
    pickled_setup: bytes,
    requests: Sequence[Request],
    features: Sequence[NDArray[np.float64] | None],
) -> list[Answer]:
    """Sums of several bundles, and results per event if the request needs them.

    The requests of the bundles may differ only in the radii of events. The function uses one
    thread, because a worker runs it in each of its own.
    """
    setup, request = unpickled(pickled_setup), requests[0]
    with looking(stop_if_unwanted):
        answers = evaluate_each(
            [
                _evaluation_part(*arguments, setup)
                for arguments in zip(bundles, requests, features, strict=True)
            ],
            setup.loss if setup.robust is None else _versions(setup.robust, request),
            request.estimator or setup.estimator,
            setup.sampling
            if request.rigidity is None
            else replace(setup.sampling, rigidity=request.rigidity),
            parameters=request.parameters,
            trees=request.trees,
            stream=request.stream,
            iteration=request.iteration,
            bootstrap=request.per_event,
            spread=request.spread,
        )
    if setup.reference_pt is not None:  # R is rho / reference_pt
        answers = [_in_reference_radius(*answer, setup.reference_pt) for answer in answers]
    kept = request.per_event or request.spread
    return [(moments, per_event if kept else None) for moments, per_event in answers]


def _versions(robust: Robust, request: Request) -> Robust:
    """The loss over the versions of the events that a request asks for."""
    return robust if request.version is None else robust.alone(request.version)


def _evaluation_part(
    bundle: EventBatch, request: Request, features: NDArray[np.float64] | None, setup: RunSetup
) -> EvaluationPart:
    """The events of a bundle that a request selects, with their radii."""
    events, trees = bundle, request.allotted
    if request.subset is not None:
        chosen = request.subset.of(bundle.key)
        events = bundle.select(chosen)
        features = None if features is None else features[chosen]
        trees = None if trees is None else trees[chosen]
    if request.weights is not None:
        events = request.weights.apply(events)
    if isinstance(request.radius, Prediction):
        assert features is not None
        return EvaluationPart(events, *request.radius(features), trees)
    if setup.reference_pt is not None:
        assert isinstance(request.radius, float)
        return EvaluationPart(events, _radius(request.radius, setup), trees=trees)
    return EvaluationPart(events, request.radius, trees=trees)


def _radius(radius: float, setup: RunSetup) -> Radius:
    """The radius of the clustering, or that of variable-R jets."""
    if setup.reference_pt is None:
        return radius
    return VariableR(radius * setup.reference_pt, *setup.reach)


def lund_of(bundle: EventBatch, pickled_setup: bytes, radius: float) -> Floats:
    """Sums of the Lund plane of as many leading jets of each event as the loss reads."""
    setup = unpickled(pickled_setup)
    with looking(stop_if_unwanted):
        jets = setup.loss.jets
        return leading_sums(bundle, _radius(radius, setup), setup.sampling.power, jets)


def weight_slopes(
    bundles: Sequence[EventBatch],
    pickled_setup: bytes,
    requests: Sequence[Request],
    features: Sequence[NDArray[np.float64] | None],
) -> list[tuple[VectorMoments, None]]:
    """Sums of several bundles with derivatives in the parameters of the weights of particles."""
    setup, request = unpickled(pickled_setup), requests[0]
    assert request.weights is not None
    assert request.in_weights is not None
    assert isinstance(request.radius, float)
    parts = [
        bundle if request.subset is None else bundle.select(request.subset.of(bundle.key))
        for bundle in bundles
    ]
    with looking(stop_if_unwanted):
        sums = weight_gradients(
            parts,
            request.weights,
            setup.loss,
            setup.sampling,
            request.in_weights,
            radius=request.radius,
            trees=request.trees,
            stream=request.stream,
            iteration=request.iteration,
        )
    return [(each, None) for each in sums]


def prepared_bundle(bundle: EventBatch, weighting: Weighting) -> EventBatch:
    """A bundle with what a weight model sees of its particles."""
    return weighting.prepare(bundle)


def weight_profile(bundle: EventBatch, request: Request) -> NDArray[np.float64]:
    """Profile of the weights of a request against the features, over the events that it selects."""
    assert request.weights is not None
    if request.subset is not None:
        bundle = bundle.select(request.subset.of(bundle.key))
    return profile(request.weights, bundle)


def joint_bundles(
    bundles: Sequence[EventBatch],
    pickled_setup: bytes,
    requests: Sequence[Request],
    features: Sequence[NDArray[np.float64] | None],
) -> list[JointAnswer]:
    """Sums of a network's loss of several bundles, and results per event if they are needed."""
    setup, request = unpickled(pickled_setup), requests[0]
    assert request.network is not None
    assert isinstance(request.radius, float)
    answers: list[JointAnswer] = []
    with looking(stop_if_unwanted):
        for bundle in bundles:
            chosen = slice(None) if request.subset is None else request.subset.of(bundle.key)
            sums, per_event = joint_sums(
                bundle.select(np.arange(len(bundle))[chosen]),
                request.network,
                setup.sampling,
                radius=request.radius,
                trees=request.trees,
                stream=request.stream,
                iteration=request.iteration,
            )
            answers.append((sums, per_event if request.per_event else None))
    return answers


def classes_of(bundle: EventBatch, classes: Classes) -> NDArray[np.int64]:
    """Number of the class of each event of a bundle, shape (event,)."""
    return classes.of(bundle)


def _in_reference_radius(
    moments: Moments, per_event: PerEvent, reference_pt: float
) -> tuple[Moments, PerEvent]:
    factors = np.ones(per_event.gradients.shape[1])
    factors[0] = reference_pt
    return moments.scaled(0, reference_pt), replace(
        per_event,
        gradients=per_event.gradients * factors,
        gradient_errors=per_event.gradient_errors * factors,
    )


def bundle_features(
    bundle: EventBatch, features: Sequence[Feature], radius: float, power: float
) -> NDArray[np.float64]:
    """Features of the events of a bundle, shape (event, feature)."""
    return features_of(bundle, features, radius, power)


def evaluate_timed(
    bundle: EventBatch, pickled_setup: bytes, request: Request
) -> tuple[Moments, float]:
    """Sums of one bundle, and their CPU time in seconds."""
    began = time.thread_time()
    ((moments, _),) = evaluate_bundles([bundle], pickled_setup, [request], [None])
    return moments, time.thread_time() - began


def emission_bundle(
    bundle: EventBatch, pickled_setup: bytes, request: Request, kind: Kind, epsilons: list[float]
) -> EmissionSums:
    """Sums of one bundle before and after an emission in each event."""
    setup = unpickled(pickled_setup)
    part = _evaluation_part(bundle, request, None, setup)
    assert request.rigidity is not None
    with looking(stop_if_unwanted):
        return emission_sums(
            part.events,
            setup.loss,
            radius=part.radius,
            sampling=replace(setup.sampling, rigidity=request.rigidity),
            trees=request.trees,
            kind=kind,
            epsilons=epsilons,
        )


def fit_bundle(
    bundle: EventBatch, pickled_setup: bytes, descents: PerEventSettings, global_radius: float
) -> PerEventRadii:
    """Radius of least loss of each event of a bundle."""
    setup = unpickled(pickled_setup)
    with looking(stop_if_unwanted):
        return fit_per_event(
            bundle,
            setup.loss,
            setup.estimator,
            setup.sampling,
            descents,
            global_radius=global_radius,
        )


@dataclass(frozen=True)
class BundleSummary:
    """Facts that the driver keeps of a bundle.

    Attributes
    ----------
    keys
        Identities of the events, shape (event,).
    counts
        Numbers of particles of the events, shape (event,).
    nbytes
        Memory of the bundle in bytes.
    truth
        True masses of the events in GeV, shape (event,).
    weight
        Weights of the events, shape (event,).
    identity
        The columns of :data:`djservice.store.meanings.IDENTITY`, where ``file`` counts ``files``.
    files, dataset
        The files that the events come from, and their dataset.
    """

    keys: Keys
    counts: NDArray[np.int64]
    nbytes: int
    truth: NDArray[np.float64]
    weight: NDArray[np.float64]
    identity: dict[str, NDArray[Any]]
    files: tuple[str, ...]
    dataset: str


def summarise(bundle: EventBatch) -> BundleSummary:
    """The summary of a bundle."""
    identity = {
        "run": bundle.run,
        "luminosityBlock": bundle.luminosity_block,
        "event": bundle.event,
        "file": bundle.file,
        "entry": bundle.entry,
    }
    return BundleSummary(
        bundle.key,
        bundle.counts,
        bundle.nbytes,
        bundle.truth,
        bundle.weight,
        {name: values.astype(IDENTITY[name]) for name, values in identity.items()},
        bundle.files,
        bundle.dataset,
    )
