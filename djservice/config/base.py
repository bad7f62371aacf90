"""Base class of configuration sections, which are frozen and refuse unknown keys."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, WrapValidator, model_validator

from djservice.core.private import PrivateUrl, private, private_url
from djservice.core.redact import redacted, remember_settings
from djservice.core.suggest import nearest
from djservice.core.urls import is_url


class Section(BaseModel):
    """A section of a run. It is frozen and refuses unknown keys."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        arbitrary_types_allowed=True,
        hide_input_in_errors=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _no_booleans_for_numbers(cls, data: Any) -> Any:
        """Refuse ``yes`` and ``true`` as numbers, which pydantic takes for 1."""
        if isinstance(data, Mapping):
            for key, value in data.items():
                items = value if isinstance(value, (list, tuple)) else (value,)
                field = cls.model_fields.get(key) if isinstance(key, str) else None
                if field and any(item is True or item is False for item in items):
                    kinds = _kinds(field.annotation)
                    if kinds & {int, float} and bool not in kinds:
                        raise ValueError(f"{key}: expected a number, found {_shown(value)}")
        return data


def _kinds(annotation: Any) -> set[Any]:
    """The types that an annotation is made of."""
    within = [_kinds(argument) for argument in get_args(annotation)]
    return {annotation if isinstance(annotation, type) else None}.union(*within)


def _private(value: Any, validate: Callable[[Any], str]) -> str:
    # As a text, a private URL would lose its credentials.
    path = value if isinstance(value, PrivateUrl) else validate(value)
    return private_url(path) if is_url(path) else path


#: A path or a URL, whose credentials are not shown.
PathOrUrl = Annotated[str, WrapValidator(_private)]


def without_credentials(data: Any) -> Any:
    """Plain data of a configuration with private URLs; messages do not quote its secrets."""
    remember_settings(data)
    return private(data)


def as_tuple(value: Any) -> Any:
    """A tuple of a single value, or of the items of a list."""
    return (
        (value,)
        if isinstance(value, (str, Mapping))
        else tuple(value)
        if isinstance(value, list)
        else value
    )


def named(value: Any) -> Any:
    """A string as ``{"name": string}``; a mapping with its parameters checked; else unchanged.

    Raises
    ------
    ValueError
        If a parameter is NaN, or no number, text, list or mapping. A store could not keep it.
    """
    if isinstance(value, Mapping):
        for name, parameter in value.items():
            if not _is_plain(parameter):
                raise ValueError(
                    f"parameter {name!r}: expected a number, text or a list of these, found "
                    f"{_shown(parameter)}"
                )
    return {"name": value} if isinstance(value, str) else value


def _is_plain(value: Any) -> bool:
    if type(value) in (list, tuple):
        return all(map(_is_plain, value))
    if type(value) is dict:
        return all(type(key) is str and _is_plain(item) for key, item in value.items())
    if type(value) is float:
        return not math.isnan(value)
    if type(value) is int:
        return -(2**63) <= value < 2**64  # no message to a scheduler holds a larger one
    return value is None or type(value) in (str, bool)


def _shown(value: Any) -> str:
    """A value in a message, which may be of any size."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = 200
    return short.repr(value)


#: Most errors in one message.
_MOST_ERRORS = 10


def explained(error: ValidationError, model: type[BaseModel], root: str) -> str:
    """Validation errors in words.

    The text has each key at fault with what was expected and found, and for an unknown key the
    nearest valid one.

    Parameters
    ----------
    model
        Model that the data were checked against.
    root
        Name of the data in messages without a key at fault.
    """
    errors = error.errors(include_url=False)
    texts = [_explain(item, model, root) for item in errors[:_MOST_ERRORS]]
    more = len(errors) - len(texts)
    return redacted("; ".join(texts) + (f"; and {more:,} more errors" if more else ""))


def _explain(error: Any, model: type[BaseModel], root: str) -> str:
    location = [str(part) for part in error["loc"] if not str(part).startswith("function-")]
    key = ".".join(location)
    if error["type"] == "extra_forbidden":
        return f"unknown key {key}{nearest(location[-1], list(_fields_at(location[:-1], model)))}"
    if error["type"] == "missing":
        return f"missing key {key}"
    message = error["msg"].removeprefix("Value error, ")
    return f"{key or root}: {message}" + (
        "" if ", found " in message else f", found {_shown(error['input'])}"
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
