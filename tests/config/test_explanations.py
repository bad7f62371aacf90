"""Errors of a configuration are spelled as its YAML, and never as Python."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest
import yaml
from pydantic import ValidationError

from djservice.config.base import Section
from djservice.config.distances import Distances
from djservice.config.document import Document
from djservice.config.explanations import explained
from djservice.config.lund import LundSample
from djservice.config.run import Run
from djservice.config.shapes import Shapes
from djservice.errors import ConfigError
from djservice.fit.build import build_estimator, build_loss
from djservice.reprocessing.config import Reprocessing

RUN = """
input: {files: "example:ZHllbb_200"}
loss: {observable: dijet_mass, target: 125.0}
output: {store: x.zarr}
"""


def message(override: str) -> str:
    data: Any = yaml.safe_load(RUN)
    for key, value in yaml.safe_load(override).items():
        *sections, last = key.split(".")
        section = data
        for name in sections:
            section = section.setdefault(name, {})
        section[last] = value
    with pytest.raises(ConfigError) as error:
        run = Run.from_dict(data)
        build_loss(run), build_estimator(run.estimator)
    return str(error.value)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("radius.start: a", "radius.start: expected a number, found 'a'"),
        ("radius.start: null", "radius.start: expected a number, found null"),
        ("radius: 3", "radius: expected a mapping, found 3"),
        ("input.columns: {d0: [1]}", "input.columns.d0: expected text or a number, found [1]"),
        (
            "input.columns: [[1]]",
            "input.columns: expected names, or a mapping of names, found [[1]]",
        ),
        ("joint.classes: 5", "joint.classes: expected a list, found 5"),
        ("radius: {5: 6}", "radius[5]: expected keys that are text, found 5"),
        ("input: [a]", "input: expected a mapping, found [a]"),
        ("input.files: null", "input.files: expected a list, found null"),
        ("input.files: [{}]", "input.files[0]: expected text, found {}"),
        ("scan.radii: []", "scan.radii: expected 4 or more items, found []"),
        ("input.pt_min: -1", "input.pt_min: expected 0 or more, found -1"),
        ("input.eta_max: 0", "input.eta_max: expected more than 0, found 0"),
        ("input.tree: ''", "input.tree: expected text of 1 or more characters, found ''"),
        ("seed: true", "seed: expected a number, found true"),
        ("spectrum.radii: [yes]", "radii: expected a number, found [true]"),
        ("scan.trees: 1.5", "scan.trees: expected a whole number, found 1.5"),
        ("clustering.power: 11", "clustering.power: expected 10 or less, found 11"),
        ("loss: x", "loss[0]: expected a mapping, found 'x'"),
        ("estimator: true", "estimator: expected a name, or a mapping with a name, found true"),
        (
            "estimator: {name: finite_difference, step: a}",
            "{name: finite_difference, step: a}: step",
        ),
        ("loss.cuts: [mass_below]", "cuts[0]: mass_below needs maximum, found {name: mass_below}."),
        (
            "loss.cuts: [{name: two_jets, pt_min: '2'}]",
            "cuts[0]: {name: two_jets, pt_min: '2'}: pt_",
        ),
        (
            "loss.cuts: [{name: two_jets, pt: 2}]",
            "two_jets has no parameter 'pt' (did you mean 'pt_m",
        ),
        (
            "loss.observable: {name: angularity, beta: [1]}",
            "{name: angularity, beta: [1]}: beta is [1]",
        ),
    ],
)
def test_a_value_is_refused_in_the_spelling_of_yaml(override: str, expected: str) -> None:
    text = message(override)
    assert expected in text
    assert not re.search(
        r"\bNone\b|\bTrue\b|tuple|dictionary|instance|Section|Input should|\(\w+:", text
    )


@pytest.mark.parametrize(
    ("document", "data", "command"),
    [
        (Run, {"task": "shapes", "shape": {"kind": "disk"}}, "djservice shapes"),
        (Run, {"distance": {}}, "djservice emd"),
        (Shapes, {"loss": {}}, "djservice run"),
        (LundSample, {"shape": {}}, "djservice shapes"),
    ],
)
def test_a_configuration_of_another_command_is_named(
    document: type[Document], data: dict[str, Any], command: str
) -> None:
    with pytest.raises(ConfigError, match=f"A configuration with .* is for `{command}`$"):
        document.from_dict({"input": {"files": "a"}, "output": {"store": "a.zarr"}, **data})


def paths(model: type[Section], *before: str) -> Iterator[tuple[str, ...]]:
    """The keys of a section and of all sections within."""
    for name, field in model.model_fields.items():
        yield *before, field.alias or name
        for section in sections(field.annotation):
            yield from paths(section, *before, field.alias or name)


def sections(annotation: Any) -> Iterator[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for argument in get_args(annotation):
        yield from sections(argument)


@pytest.mark.parametrize("document", [Run, Distances, Shapes, Reprocessing])
@pytest.mark.parametrize("value", [5, "zz", [[1]], [None], {"a": None}, {5: 6}, ["a", {"b": 2}]])
def test_no_key_is_refused_in_the_words_of_a_library(document: type[Section], value: Any) -> None:
    """Whatever has several types, or makes its own, and no key ends in another error."""
    for path in paths(document):
        data: Any = {}
        section = data
        for name in path[:-1]:
            section = section.setdefault(name, {})
        section[path[-1]] = value
        try:
            document.model_validate(data)
        except ValidationError as error:
            said = explained(error, document, "root")
            assert not re.search(r"constrained|function-|tuple|dict\b|\bstr\b|\bint\b|should", said)
