"""Base class of configuration sections, which are frozen and refuse unknown keys."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, WrapValidator, model_validator

from djservice.core.private import PrivateUrl, private, private_url
from djservice.core.redact import remember_settings
from djservice.core.spelling import spelled
from djservice.core.urls import is_url

#: Largest length of a list whose members are built before the sizes are known, as of features.
MANY = 1_000


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
                        raise ValueError(f"{key}: expected a number, found {spelled(value)}")
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
                    f"{spelled(parameter)}"
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
