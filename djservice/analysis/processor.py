"""RadiusProcessor: the evaluation of a radius as a coffea processor, with mergeable sums.

This module imports coffea, so it is imported on first use.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, Unpack

import hist
import numpy as np
from coffea.processor import ProcessorABC

from djservice.analysis.radius_result import RadiusResult, or_nan
from djservice.clustering.radius import Radius, VariableR
from djservice.clustering.sampling import SAMPLING_DEFAULTS, Sampling, SamplingKeywords
from djservice.clustering.trees import TreeSample
from djservice.config.schema_fields import SCHEMA_DEFAULTS, EventSchemaKeywords, Kind
from djservice.core.arguments import takes
from djservice.core.array_module import to_host
from djservice.core.private import private_url
from djservice.core.typing import Floats
from djservice.core.urls import basename
from djservice.core.warn import warn
from djservice.errors import InputError, InputWarning
from djservice.estimators.base import Estimator
from djservice.estimators.state_baseline import StateBaseline
from djservice.evaluation.evaluate import evaluate, trees_needed
from djservice.evaluation.moments import Moments, Quantity
from djservice.evaluation.reduce import layout_of
from djservice.events.batch import EventBatch
from djservice.events.checks import check_weights
from djservice.events.keys import entry_keys
from djservice.input.branches import batch_of
from djservice.input.cutflow import absent_text
from djservice.input.fileset import normalisation
from djservice.input.nanoevents import branches_of_events
from djservice.input.schemas import make
from djservice.lund_planes.density import histogram_of, rescaled
from djservice.lund_planes.leading_jets import leading_sums
from djservice.objectives.losses import Loss, as_loss
from djservice.objectives.observable import Observable, defaults_texts
from djservice.weight_models.learned import LearnedWeights

#: Fields of :class:`djservice.evaluation.moments.Moments` that are accumulated: all but the layout,
#: which follows from the loss.
_SUMS = tuple(f.name for f in fields(Moments) if f.name != "layout")


class ProcessorKeywords(SamplingKeywords, EventSchemaKeywords, total=False):
    """Keywords of :class:`RadiusProcessor` that other functions have as well."""


class RadiusProcessor(ProcessorABC):  # type: ignore[misc, unused-ignore]
    """A coffea processor that evaluates a loss and its derivative in R on NanoEvents.

    ``process(events)`` returns ``{dataset: sums}``, plain dicts of numbers, arrays, sets and a
    histogram, which merge with coffea's ``accumulate``. ``postprocess(sums)`` returns
    ``{"datasets": {name: RadiusResult}, "all": RadiusResult}``. To use the processor within another
    processor, call both methods from there, if needed with selected events.

    The random draws of an event are keyed by the seed, the name of its dataset and its identity. In
    whole chunks without identity they are keyed by the file's name and the entry. Results therefore
    do not depend on chunks, executors or files. They equal, tree for tree, those of a run whose
    ``input.dataset`` has that name.

    Three metadata of a dataset are used, all of them optional:

    - ``xsec``, its cross section. The weights in ``spectrum`` and in "all" are scaled so that they
      sum to it over all processed events.
    - ``sumw``, the sum of weights that corresponds to ``xsec``. It is needed if events were
      selected before; the weights are then divided by it instead of by their sum.
    - ``weight``, an additional factor, such as a luminosity or a filter efficiency.

    The result of a single dataset does not depend on its normalisation, except for its spectrum.

    Parameters
    ----------
    loss
        A loss; or an observable, whose mean is then the objective.
    radius
        One number, or a :class:`djservice.VariableR`.
    trees
        Trees per event.
    estimator
        See :func:`djservice.gradient`.
    rigidity
        See :func:`djservice.cluster`, as for the other keywords of sampling. Each call of
        ``process`` has one thread by default.
    stream, iteration
        Keys of the draws, in addition to the seed. ("scan", row) gives the draws of a row of a
        run's scan.
    schema
        Layout of the files, one of :data:`djservice.input.layouts.LAYOUTS`, whose coffea schema
        made the NanoEvents.
    particles, particle_weight, columns, pt_min, eta_max, weight, truth
        See :class:`djservice.input.schemas.Schema`. Branches have their names in the file:
        ``GenMET_pt`` for ``events.GenMET.pt``.
    identity
        Branches of run, luminosity block and event number; those of the layout by default.
    axis
        Axis of the spectrum, a ``hist`` axis with underflow and overflow; 50 bins from 0 to 250 by
        default.
    weights
        Learned weights, which multiply the momenta of the particles. The fields that they need are
        read.
    lund
        Whether the density of the Lund plane is accumulated too, of as many leading jets above
        20 GeV as the loss reads, clustered deterministically with ``radius``.

    Raises
    ------
    InputError
        If an argument has no meaning. ``process`` raises it for particles without meaning, and
        :class:`djservice.errors.SchemaError` if a branch is missing. ``postprocess`` raises it for
        inconsistent metadata.

    Warns
    -----
    InputWarning
        ``postprocess`` warns of the remarks on each dataset.
    """

    # The parallelism is over chunks.
    @takes(ProcessorKeywords, SAMPLING_DEFAULTS | SCHEMA_DEFAULTS | {"threads": 1})
    def __init__(
        self,
        loss: Loss | Observable,
        *,
        radius: Radius,
        trees: int = 10,
        estimator: Estimator | None = None,
        rigidity: float = 1.0,
        stream: str = "sample",
        iteration: int = 0,
        schema: Kind = "nanoaod",
        particles: str | tuple[str, ...] | None = None,
        identity: tuple[str, str, str] | None = None,
        axis: Any = None,
        weights: LearnedWeights | None = None,
        lund: bool = False,
        **keywords: Unpack[ProcessorKeywords],
    ) -> None:
        self.loss = as_loss(loss)
        self.estimator = estimator or StateBaseline()
        if trees < trees_needed(self.loss, self.estimator):
            raise InputError(
                f"trees is {trees}, too few for the {self.estimator.name} estimator and this loss."
            )
        if not isinstance(radius, VariableR) and np.ndim(radius) != 0:
            raise InputError(
                f"radius has shape {np.shape(radius)}, expected one number or a VariableR."
            )
        self.radius, self.trees = radius, trees
        sampling, fields_read = _apart({"threads": 1, **keywords})
        self.sampling = Sampling(rigidity, **sampling)
        self.stream, self.iteration = stream, iteration
        self.schema = make(schema, particles=particles, **fields_read)
        if not isinstance(weights, LearnedWeights | None):
            raise InputError(
                f"weights is {weights!r}, expected djservice.LearnedWeights, which "
                "LearnedWeights.read(STORE) reads from the store of a run."
            )
        if weights is not None:
            needed = {name: name for name in weights.fields} | self.schema.columns
            self.schema = self.schema.model_copy(update={"columns": needed})
        self.weights, self.identity, self.lund = weights, identity, lund
        named = {repr(term.observable.name): term.observable for term in self.loss.terms}
        self._defaults = defaults_texts(named, self.schema.columns, "columns of the processor")
        first = self.loss.terms[0].observable
        self.axis: Any = axis or hist.axis.Regular(
            50, 0.0, 250.0, label=f"{first.name} [{first.units}]".removesuffix(" []")
        )
        if not (self.axis.traits.underflow and self.axis.traits.overflow):
            raise InputError(
                f"axis is {self.axis}, expected one with underflow and overflow, so that no tree "
                "is lost. Give an axis with both."
            )

    def process(self, events: Any) -> dict[str, dict[str, Any]]:
        """Sums of a chunk of NanoEvents, by dataset."""
        metadata = getattr(events, "metadata", None) or {}
        if "dataset" not in metadata:
            raise InputError(
                "expected NanoEvents with a dataset in their metadata, found none. A coffea Runner "
                "sets it; otherwise set events.metadata['dataset']."
            )
        factor = float(metadata.get("weight", 1.0))
        batch = self.batch(events)
        if self.weights is not None:
            batch = self.weights.apply(batch)
        sum_of_weights = float(batch.weight.sum())
        batch = check_weights(replace(batch, weight=batch.weight * factor))
        spectrum = hist.Hist(self.axis, storage=hist.storage.Weight())
        moments, per_event = evaluate(
            batch,
            self.loss,
            self.estimator,
            self.sampling,
            radius=self.radius,
            trees=self.trees,
            stream=self.stream,
            iteration=self.iteration,
            on_trees=lambda portion, sample: self._fill(spectrum, portion, sample),
        )
        accepted, weight2 = per_event.accepted / self.trees, batch.weight**2
        sums = {
            "moments": {name: getattr(moments, name) for name in _SUMS},
            "acceptance": np.array(
                [weight2.sum(), *((weight2 * accepted**k).sum() for k in (1, 2))]
            ),
            "spectrum": spectrum,
            "sum_of_weights": sum_of_weights,
            "absent": {n: len(batch) for n in self.schema.further if n not in batch.columns},
            "doubts": {*batch.doubts, *self._defaults},
            "lund": self._lund(batch),
            # Sets, because these are equal in all chunks and must not be added up.
            **{
                name: {float(metadata[name])} if name in metadata else set()
                for name in ("xsec", "sumw")
            },
        }
        return {str(metadata["dataset"]): sums}

    def postprocess(self, accumulator: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Results of each dataset and of all datasets together."""
        if not accumulator:
            raise InputError(
                "no dataset was processed, so there is no result. Give files with events."
            )
        names = sorted(accumulator)  # so that rounding does not depend on the order of the chunks
        scales = {name: _normalisation(name, accumulator[name]) for name in names}
        missing = [name for name in names if not accumulator[name]["xsec"]]
        if 0 < len(missing) < len(names):
            raise InputError(
                f"xsec is missing in the metadata of {', '.join(missing)}, and given for others: "
                "give it for all datasets or for none."
            )
        parts = {name: self._scaled(accumulator[name], scales[name]) for name in names}
        combined = parts[names[0]]
        for name in names[1:]:
            combined = tuple(a + b for a, b in zip(combined, parts[name], strict=True))
        remarks = {name: _remarks(name, accumulator[name]) for name in names}
        together: tuple[str, ...] = sum(remarks.values(), ())
        for text in together:
            warn(text, InputWarning)
        return {
            "datasets": {name: self._result(*parts[name], remarks=remarks[name]) for name in names},
            "all": self._result(*combined, remarks=together),
        }

    def batch(self, events: Any) -> EventBatch:
        """Batch of the events of a chunk of NanoEvents, with the particles that are clustered.

        Raises
        ------
        SchemaError
            If a branch is missing.
        InputError
            If particles have no meaning, or selected events have no identity.
        """
        metadata = events.metadata
        path = private_url(str(metadata.get("filename", "events")))
        dataset, file = str(metadata["dataset"]), str(path)
        first = int(metadata.get("entrystart", 0))
        last = int(metadata.get("entrystop", len(events)))
        complete = last - first == len(events)
        chunk = f"{file}[{first}:{last}]"
        branches, get = branches_of_events(events, self.schema, chunk, self.identity)
        if not branches.identity and not complete:
            raise InputError(
                f"{chunk}: {len(events)} selected events without run, luminosityBlock and event, "
                "so nothing identifies them. Process whole chunks, or name the branches of the "
                "identity."
            )
        entry = first + np.arange(len(events))
        batch, _ = batch_of(
            branches,
            get,
            self.schema,
            place=chunk,
            source=file if complete else f"a selection of {chunk}",
            dataset=dataset,
            entry=entry,
        )
        return (
            batch
            if branches.identity
            else replace(batch, key=entry_keys(dataset, basename(path), entry))
        )

    def _fill(self, spectrum: Any, events: EventBatch, sample: TreeSample) -> None:
        """Add the observable of the trees of a portion of events to the spectrum."""
        value, accepted = (
            to_host(x) for x in self.loss.terms[0].evaluate(sample.jets, events.truth)[::2]
        )
        event, _ = np.nonzero(accepted)
        share = np.zeros((len(events), self.axis.size + 2))
        np.add.at(
            share, (event, np.asarray(self.axis.index(value[accepted])) + 1), 1.0 / self.trees
        )
        bins = spectrum.view(flow=True)
        bins.value += np.einsum("e,e...->...", events.weight, share)
        bins.variance += np.einsum("e,e...->...", events.weight**2, share**2)

    def _lund(self, batch: EventBatch) -> Floats:
        """Sums of the Lund plane; none unless they were asked for."""
        if not self.lund:
            return np.zeros((0, 0, 0))
        return leading_sums(batch, self.radius, self.sampling.power, self.loss.jets)

    def _scaled(self, sums: Mapping[str, Any], factor: float) -> tuple[Any, ...]:
        """Sums of a dataset whose weights are multiplied by a factor."""
        moments = Moments(layout=layout_of(self.loss, 1), **sums["moments"]).rescaled(factor)
        lund = rescaled(sums["lund"], factor)
        return moments, sums["acceptance"] * factor**2, sums["spectrum"] * factor, lund

    def _result(
        self,
        moments: Moments,
        acceptance: Floats,
        spectrum: Any,
        lund: Floats,
        *,
        remarks: tuple[str, ...],
    ) -> RadiusResult:
        numbers = {
            name: or_nan(getattr(moments, name)) for name in ("loss", "gradient", "mean", "sd")
        }
        return RadiusResult(
            **numbers,
            acceptance=self._acceptance(moments, acceptance),
            spectrum=spectrum,
            moments=moments,
            remarks=remarks,
            lund=histogram_of(lund) if self.lund else None,
        )

    def _acceptance(self, moments: Moments, sums: Floats) -> Quantity:
        """Acceptance A = sum w a / sum w with errors, from sums of w^2 (1, a, a^2) over events."""
        if moments.weight == 0.0:
            return Quantity(math.nan, math.nan, math.nan)
        value, n = moments.acceptance, moments.events
        over_events = max(float((sums * [value**2, -2.0 * value, 1.0]).sum()), 0.0)
        over_trees = max(float(sums[1] - sums[2]), 0.0)
        error = math.sqrt(over_events * n / (n - 1)) / abs(moments.weight) if n > 1 else math.nan
        tree_error = (
            math.sqrt(over_trees / (self.trees - 1)) / abs(moments.weight)
            if self.trees > 1
            else math.nan
        )
        return Quantity(value, error, tree_error)


def _apart(keywords: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keywords of the sampling, and those of the schema."""
    sampling = {k: v for k, v in keywords.items() if k in SAMPLING_DEFAULTS}
    return sampling, {k: v for k, v in keywords.items() if k not in sampling}


def _remarks(name: str, sums: Mapping[str, Any]) -> tuple[str, ...]:
    """What a dataset's events lack, and what looks like a mistake in them, each in a line."""
    absent = [absent_text(column, number) for column, number in sums["absent"].items()]
    return tuple(f"dataset {name!r}: {text}" for text in (*absent, *sorted(sums["doubts"])))


def _normalisation(name: str, sums: Mapping[str, Any]) -> float:
    """Factor that normalises the weights of a dataset to its cross section."""
    for key in ("xsec", "sumw"):
        if len(sums[key]) > 1:
            raise InputError(
                f"dataset {name!r}: expected one {key} in its metadata, found {sorted(sums[key])}."
            )
    xsec, sumw = (next(iter(sums[key]), None) for key in ("xsec", "sumw"))
    if not sums["moments"]["events"]:  # nothing passed, and there is nothing to scale
        return 1.0
    return normalisation(name, xsec, sumw, sums["sum_of_weights"])
