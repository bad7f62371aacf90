"""What all sections of a configuration share: they are frozen and refuse unknown keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from djservice.core.suggest import nearest


class Section(BaseModel):
    """A section of a run: frozen; unknown keys are refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, arbitrary_types_allowed=True
    )


def as_tuple(value: Any) -> Any:
    """One value as a tuple of it, and a list as a tuple."""
    return (
        (value,)
        if isinstance(value, (str, Mapping))
        else tuple(value)
        if isinstance(value, list)
        else value
    )


def named(value: Any) -> Any:
    """``name`` as ``{name: name}``; Python objects as they are."""
    return {"name": value} if isinstance(value, str) else value


def explained(error: ValidationError, model: type[BaseModel], whole: str) -> str:
    """Validation errors in words: each key at fault, what was expected and found, and for an unknown key the nearest valid one.

    Parameters
    ----------
    model
        What the data should have been.
    whole
        What the message calls all of the data, where no key of it is at fault.
    """
    return "; ".join(_explain(each, model, whole) for each in error.errors())


def _explain(error: Any, model: type[BaseModel], whole: str) -> str:
    location = [str(part) for part in error["loc"] if not str(part).startswith("function-")]
    where = ".".join(location)
    if error["type"] == "extra_forbidden":
        return f"unknown key {where}{nearest(location[-1], list(_fields_at(location[:-1], model)))}"
    if error["type"] == "missing":
        return f"missing key {where}"
    message = error["msg"].removeprefix("Value error, ")
    return f"{where or whole}: {message}" + (
        "" if ", found " in message else f", found {error['input']!r}"
    )


def _fields_at(location: Sequence[str], model: type[BaseModel]) -> dict[str, Any]:
    """The types of the fields of the section at a location, by their keys; numbers and names within a section lead nowhere."""
    for part in location:
        model = _section_in(_fields(model).get(part)) or model
    return _fields(model)


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    return {info.alias or name: info.annotation for name, info in model.model_fields.items()}


def _section_in(annotation: Any) -> type[BaseModel] | None:
    """The model that a type is, or is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(
        (found for found in map(_section_in, get_args(annotation)) if found is not None), None
    )
