"""What all sections of a configuration share: they are frozen and refuse unknown keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A section of a run: frozen; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, arbitrary_types_allowed=True)


def as_list(value: Any) -> Any:
    """One value as a list of it."""
    return [value] if isinstance(value, (str, Mapping)) else value


def named(value: Any) -> Any:
    """``name`` as ``{name: name}``; Python objects as they are."""
    return {"name": value} if isinstance(value, str) else value
