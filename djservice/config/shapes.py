"""Shapes: the configuration of fitted shapes of jets, for ``djservice shapes``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from djservice.config.base import Section
from djservice.config.jets import JetsDocument
from djservice.core.bounds import limits


class ShapeSection(Section):
    """The shape that is fitted to each."""

    kind: str = Field(
        description="point, ring, disk, ellipse and uniform with + between, or ring isotropy, "
        "cylinder isotropy, sphere isotropy"
    )
    n: int = Field(1, **limits("jets"), description="number of prongs")
    radius: float = Field(0.8, **limits("radius"), description="R that distances are divided by")
    beta: float = Field(1.0, ge=1, le=2, description="exponent of distances in (y, phi)")
    y_max: float | None = Field(
        None, gt=0, description="largest |rapidity| of a uniform part or a cylinder"
    )


class Shapes(JetsDocument):
    """Fitted shapes: input, jets, shape, output and cluster."""

    noun: ClassVar[str] = "shapes"
    start: ClassVar[str] = "; docs/guides/shapes.md has one to start from."

    shape: ShapeSection


def as_shapes(config: Any) -> Shapes:
    """A configuration unchanged, of plain data or of a YAML file.

    Raises
    ------
    ConfigError
        If it is none of these, or as in :meth:`Shapes.from_yaml`.
    """
    if isinstance(config, (str, Path)):
        return Shapes.from_yaml(config)
    return config if isinstance(config, Shapes) else Shapes.from_dict(config)
