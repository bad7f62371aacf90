"""Keywords that several public functions share, and the errors for wrong arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest

import djservice as dj
from djservice.analysis.processor import ProcessorKeywords
from djservice.clustering.sampling import SAMPLING_DEFAULTS, SamplingKeywords
from djservice.config.schema_fields import (
    SCHEMA_DEFAULTS,
    EventSchemaKeywords,
    SchemaFields,
    SchemaKeywords,
)
from djservice.errors import ArgumentError, DjserviceError
from djservice.events.event_columns import EventColumns, EventKeywords

BATCH = dj.EventBatch
SCHEMAS = [dj.schemas.nanoaod, dj.schemas.pfnanoaod, dj.schemas.delphes, dj.schemas.physlite]
FAMILIES = [
    (EventKeywords, {f.name: f.default for f in fields(EventColumns)}, BATCH.from_arrays),
    (EventKeywords, {f.name: f.default for f in fields(EventColumns)}, BATCH.from_awkward),
    (ProcessorKeywords, SAMPLING_DEFAULTS | SCHEMA_DEFAULTS | {"threads": 1}, dj.RadiusProcessor),
    *((SchemaKeywords, SCHEMA_DEFAULTS, make) for make in SCHEMAS),
]


@pytest.mark.parametrize(("keywords", "defaults", "function"), FAMILIES)
def test_shared_keywords_are_shown_with_their_defaults(
    keywords: type, defaults: dict[str, Any], function: Callable[..., Any]
) -> None:
    shown = inspect.signature(function).parameters
    for name in keywords.__annotations__:
        assert shown[name].default == defaults[name]


def test_each_family_has_the_names_of_its_table() -> None:
    assert list(EventKeywords.__annotations__) == [field.name for field in fields(EventColumns)]
    # Of a run, quarks are read where its weights need them.
    of_schema = {*SchemaFields.model_fields, "quarks"}
    assert {*SchemaKeywords.__annotations__} == of_schema - {"particles"}
    assert {*SamplingKeywords.__annotations__} == {*SAMPLING_DEFAULTS} - {"rigidity"}
    assert {*EventSchemaKeywords.__annotations__} == {*SchemaKeywords.__annotations__} - {
        "tree",
        "identity",
        "selection",
        "quarks",
    }


MASS = dj.observables.dijet_mass
EVENT = BATCH.from_arrays(
    pt=[9.0, 8.0], eta=[0.0, 1.0], phi=[0.0, 1.0], mass=[0, 0], offsets=[0, 2]
)
CUT = dj.cuts.two_jets()
LOSS = dj.SquaredError(MASS, target=125.0)
#: Public names that users do not call: bases, and objects that functions return.
NOT_CALLED = {"EventBatch", "TreeSample", "Store", "InputGradient", "Expectation", "Calibration"} | {
    "RadiusModel", "WeightModel", "DjserviceError", "Run", "LundRatio", "IrcCheck",
}  # fmt: skip
FIXED = ("dijet_mass", "leading_jet_mass", "leading_jet_pt")  # they have no parameters
MODULES = [dj.augment.AUGMENTATIONS, dj.cuts.named_cuts(), dj.observables.named_observables()]
CALLED = {
    **{name: getattr(dj, name) for name in dj._PUBLIC if name not in NOT_CALLED},
    **{name: call for module in MODULES for name, call in module.items() if name not in FIXED},
    **{make.__name__: make for make in SCHEMAS},
    "from_arrays": BATCH.from_arrays,
    "from_awkward": BATCH.from_awkward,
    "augmented": dj.augment.augmented,
}


@pytest.mark.parametrize("name", CALLED)
def test_an_unknown_argument_is_refused_with_the_nearest(name: str) -> None:
    with pytest.raises(ArgumentError, match=r"unknown argument nonsense \(.*valid: "):
        CALLED[name](nonsense=1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dj.MutualInformation(bins=10), "MutualInformation: missing .*'observable'.*Give obs"),
        (lambda: dj.schemas.physlite(), "physlite: missing .*'particles'.*Give particles; optional"),
        (lambda: dj.cluster_jets(EVENT, radius=0.4, algorithm="antikt"), "cluster_jets: unknown .*alg"),
        (lambda: dj.cluster(EVENT, radius=0.4, rigidity=1.0, seeed=1), "did you mean 'seed'"),
        (lambda: dj.VariableR(1, 2, 3, 4, 5), "VariableR: too many positional arguments"),
        (lambda: dj.augment.augmented(EVENT, ["rotate"]), "expected a list of augmentations such as"),
        (lambda: dj.augment.augmented(EVENT, dj.augment.Rotate()), "expected a list of augmentations"),
        (lambda: dj.augment.augmented([1], [dj.augment.Rotate()]), "expected an EventBatch, found list"),
        (lambda: dj.cluster([1], radius=0.4, rigidity=1.0), "expected particles, found list"),
        (lambda: dj.replay([1], [[0, 1]], radius=1.0, rigidity=1.0), "expected particles, found list"),
        (lambda: dj.reweight([1], MASS, radius=1.0, radii=[1.1]), "expected particles, found list"),
        (lambda: dj.MutualInformation(MASS, bins=10), "bins are 10, expected two numbers"),
        (lambda: dj.MutualInformation(MASS, range=3), r"range is 3, expected \[lowest, highest\]"),
        (lambda: dj.gradient(EVENT, dj.MutualInformation(MASS), radius=1.0), "give a truth in the sch"),
        (lambda: dj.gradient(EVENT, dj.Width(MASS, scale=None), radius=1.0), "give scale= or a truth"),
        (lambda: dj.SquaredError(MASS, scale="125"), "scale is '125', expected a finite number, or"),
        (lambda: dj.FiniteDifference(step="a"), "step is 'a', expected a finite number"),
        (lambda: dj.run({}), r"run is \{\}, expected a djservice.Run or the path"),
        (lambda: dj.scan("run.yaml", "grid.zarr"), "run.yaml: cannot be read"),
        (lambda: dj.run("run.yaml"), "run.yaml: cannot be read"),
        (lambda: CUT & None, "expected a cut, found None"),
        (lambda: CUT | MASS, "expected a cut, found Observable"),
        (lambda: CUT and CUT, "a cut has no truth value .* with &, | and ~"),
        (lambda: not CUT, "a cut has no truth value"),
        (lambda: 100 < MASS < 150, "a comparison of an observable has no truth value.*cuts.above"),
        (lambda: MASS or CUT, "an observable has no truth value"),
        (lambda: LOSS or LOSS, "a loss has no truth value.*Add losses"),
        (lambda: LOSS + 3, "expected another loss in a sum of losses, found 3"),
        (lambda: (LOSS + LOSS) + MASS, "expected another loss in a sum"),
        (lambda: LOSS * "2", "factor is '2', expected a finite number"),
        (lambda: LOSS.where(MASS), "expected a cut, found Observable"),
        (lambda: dj.SquaredError(MASS, cut=3), "expected a cut, found 3"),
        (lambda: MASS * 3, "expected another observable in a product, found 3"),
        (lambda: MASS("jets"), "expected jets of shape .event, tree, jet.*found str"),
        (lambda: CUT(None), "expected jets of shape .event, tree, jet.*found NoneType"),
        (lambda: dj.cuts.above(None, 3), "expected an observable, found None"),
        (lambda: dj.cuts.below(len, 3), "expected an observable, found <built-in"),
        (lambda: dj.observables.soft_choice(len), "expected an observable, found <built-in"),
        (lambda: dj.observables.soft_above(3, 1, 1), "expected an observable, found 3"),
        (lambda: dj.expectation(EVENT, MASS, radius=1.0, where="x"), "expected a cut, found 'x'"),
        (lambda: dj.gradient(EVENT, MASS, radius=1.0, parameters=3), "parameters is .*expected a tuple"),
        (lambda: dj.cluster(EVENT, radius=1.0, rigidity=1.0, flips="x"), "flips is 'x', expected True"),
        (lambda: dj.cluster(EVENT, radius=1.0, rigidity=1.0, settled_pt="x"), "settled_pt is 'x'"),
        (lambda: dj.cluster(EVENT, radius=1.0, rigidity=1.0, identity=3), "an EventBatch has its own"),
        (lambda: dj.as_events([[[1, 0, 0, 1]]]), "expected particles, found list"),
        (lambda: dj.observable("pt"), "observable is 'pt', expected a function"),
        (lambda: dj.compare({}, "grid.zarr", [dj.Score()]), "expected a djservice.Run"),
        (lambda: dj.Run.from_yaml({}), r"expected the path of a YAML file, found \{\}"),
        (lambda: dj.read(3), "files is 3, expected a path, or a list of paths"),
        (lambda: dj.connect(3), "address is 3, expected text such as tcp"),
        (lambda: dj.feature(3), "feature is 3, expected a function"),
        (lambda: dj.observable()(3), "observable is 3, expected a function"),
        (lambda: dj.particle_feature()(3), "particle_feature is 3, expected a function"),
        (lambda: dj.TorchModel(3), "network is 3, expected a function"),
        (lambda: dj.TorchWeights(3), "network is 3, expected a function"),
        (lambda: dj.TorchTagger(3), "network is 3, expected a function"),
        (lambda: dj.RadiusProcessor(MASS, radius=1.0, schema="nano"), "schema is 'nano', expected one"),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_an_error_of_ours(call: Callable[[], object], message: str) -> None:
    with pytest.raises(DjserviceError, match=message):
        call()


def test_packages_with_extras_are_listed() -> None:
    assert {"networks", "torch", "jax", "cluster"} <= {*dir(dj)}
