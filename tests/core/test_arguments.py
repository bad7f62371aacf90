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
    assert {*SchemaKeywords.__annotations__} == {*SchemaFields.model_fields} - {"particles"}
    assert {*SamplingKeywords.__annotations__} == {*SAMPLING_DEFAULTS} - {"rigidity"}
    assert {*EventSchemaKeywords.__annotations__} == {*SchemaKeywords.__annotations__} - {
        "tree",
        "selection",
    }
