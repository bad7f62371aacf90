"""Validation errors of plain data, in words that fit YAML."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from djservice.core.redact import redacted
from djservice.core.spelling import spelled
from djservice.core.suggest import nearest

#: Most errors in one message.
_MOST_ERRORS = 10
#: What was expected, by the types of errors; pydantic tells most of them in terms of Python.
_EXPECTED = {
    "a mapping": ("model_type", "model_attributes_type", "dict_type", "mapping_type"),
    "a list": ("tuple_type", "list_type"),
    "{min_length} or more items": ("too_short",),
    "at most {max_length} items": ("too_long",),
    "a whole number": ("int_type", "int_parsing", "int_parsing_size", "int_from_float"),
    "a number": ("float_type", "float_parsing"),
    "a finite number": ("finite_number",),
    "more than {gt}": ("greater_than",),
    "{ge} or more": ("greater_than_equal",),
    "less than {lt}": ("less_than",),
    "{le} or less": ("less_than_equal",),
    "text": ("string_type",),
    "text of {min_length} or more characters": ("string_too_short",),
    "true or false": ("bool_type", "bool_parsing"),
    "keys that are text": ("invalid_key",),
    "{expected}": ("literal_error",),
}
#: Parts of a location that are no keys but name a type among several, or a function.
_TYPES = re.compile(
    r"(function-|constrained-|literal\[|tuple\[|list\[|dict\[).*|str|float|int|bool"
)
_BY_TYPE = {kind: text for text, kinds in _EXPECTED.items() for kind in kinds}


def explained(
    error: ValidationError,
    model: type[BaseModel],
    root: str,
    show: Callable[[Any], str] = spelled,
) -> str:
    """Validation errors in words.

    The text has each key at fault with what was expected and found, and for an unknown key the
    nearest valid one.

    Parameters
    ----------
    model
        Model that the data were checked against.
    root
        Name of the data in messages without a key at fault.
    show
        Text of a value that was found; YAML by default.
    """
    texts: dict[tuple[str, str], dict[str, None]] = {}  # a value of several types has an error each
    for item in error.errors(include_url=False):
        before, expected, after = _explain(item, model, root, show)
        texts.setdefault((before, after), {})[expected] = None
    lines = [f"{before}{' or '.join(each)}{after}" for (before, after), each in texts.items()]
    more = len(lines) - _MOST_ERRORS
    return redacted("; ".join(lines[:_MOST_ERRORS]) + f"; and {more:,} more errors" * (more > 0))


def _explain(
    error: Any, model: type[BaseModel], root: str, show: Callable[[Any], str]
) -> tuple[str, str, str]:
    """What comes before the expected, what was expected, and what comes after."""
    location = [part for part in error["loc"] if not _TYPES.fullmatch(str(part))]
    of_key = "a key of " if "[key]" in location else ""
    location = [part for part in location if part != "[key]"]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    key = key.removeprefix(".") or root
    names = [str(part) for part in location]
    if error["type"] == "extra_forbidden":
        hint = nearest(names[-1], list(_fields_at(names[:-1], model)))
        return f"unknown key {key}{hint}", "", ""
    if error["type"] == "missing":
        return f"missing key {key}", "", ""
    after = f", found {show(error['input'])}"
    if error["type"] == "value_error":  # ours
        message = error["msg"].removeprefix("Value error, ")
        return f"{key}: {message}", "", "" if key == root or ", found " in message else after
    expected = _BY_TYPE.get(error["type"])
    context = {name: _bound(value) for name, value in error.get("ctx", {}).items()}
    if not expected:
        return f"{key}: {error['msg']}", "", after
    return f"{key}: expected ", of_key + expected.format(**context), after


def _bound(value: Any) -> Any:
    """A bound as text."""
    return (
        f"{value:g}" if isinstance(value, float) else f"{value:,}" if type(value) is int else value
    )


def _fields_at(location: Sequence[str], model: type[BaseModel]) -> dict[str, Any]:
    """Types of the fields of the section at a location, by key.

    Parts of the location that are not sections, such as indices, are skipped.
    """
    for part in location:
        model = _section_in(_fields(model).get(part)) or model
    return _fields(model)


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    return {info.alias or name: info.annotation for name, info in model.model_fields.items()}


def _section_in(annotation: Any) -> type[BaseModel] | None:
    """The model in a type annotation, or None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(
        (section for section in map(_section_in, get_args(annotation)) if section is not None), None
    )
