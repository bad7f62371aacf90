"""Shapes that a jet or an event is compared with, and their sums."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from djservice.core.bounds import require, require_number, require_positive
from djservice.core.suggest import nearest
from djservice.core.typing import Floats
from djservice.errors import InputError
from djservice.shapes import quadrature


@dataclass(frozen=True)
class _Sum:
    """What can be added: a part or a sum of parts."""

    def __add__(self, other: Part | Uniform | Shape) -> Shape:
        if not isinstance(other, _Sum):
            return NotImplemented
        first, second = shape_of(self), shape_of(other)
        if first.uniform and second.uniform:
            raise InputError("a shape has one Uniform at most.")
        return Shape(first.parts + second.parts, first.uniform or second.uniform)


@dataclass(frozen=True)
class Part(_Sum, ABC):
    """A part of each of ``n`` prongs."""

    n: int = 1
    #: Name in a configuration, and points that stand for it: few, some and many.
    name: ClassVar[str]
    points: ClassVar[tuple[int, int, int]]

    def __post_init__(self) -> None:
        require("jets", self.n, of="n")

    @abstractmethod
    def basis(self, number: int) -> Floats:
        """Places of its points for each of its parameters as 1, shape (point, 2, parameter)."""


@dataclass(frozen=True)
class Point(Part):
    """Points: the fit is N-subjettiness, with the axes of least value."""

    name: ClassVar[str] = "point"
    points: ClassVar[tuple[int, int, int]] = (1, 1, 1)

    def basis(self, number: int) -> Floats:
        return np.zeros((1, 2, 0))


@dataclass(frozen=True)
class Ring(Part):
    """Circles."""

    name: ClassVar[str] = "ring"
    points: ClassVar[tuple[int, int, int]] = (16, 32, 100)

    def basis(self, number: int) -> Floats:
        return quadrature.ring(number)[:, :, np.newaxis]


@dataclass(frozen=True)
class Disk(Part):
    """Disks, evenly filled."""

    name: ClassVar[str] = "disk"
    points: ClassVar[tuple[int, int, int]] = (24, 64, 400)

    def basis(self, number: int) -> Floats:
        return quadrature.disk(number)[:, :, np.newaxis]


@dataclass(frozen=True)
class Ellipse(Part):
    """Ellipses, evenly filled.

    The parameters are those of a symmetric matrix that maps the unit disk onto the ellipse.
    """

    name: ClassVar[str] = "ellipse"
    points: ClassVar[tuple[int, int, int]] = (24, 64, 400)

    def basis(self, number: int) -> Floats:
        x, y = quadrature.disk(number).T
        none = np.zeros(len(x))
        return np.stack([np.stack([x, y, none], -1), np.stack([none, x, y], -1)], axis=1)


@dataclass(frozen=True)
class Uniform(_Sum):
    """An even part, as of pile-up.

    Parameters
    ----------
    y_max
        Largest |rapidity|: it fills |y| < ``y_max`` at all azimuths, for events. Without it, the
        square of half the side ``radius`` of the fit about the jet, for jets.
    """

    y_max: float | None = None
    name: ClassVar[str] = "uniform"
    points: ClassVar[tuple[int, int, int]] = (36, 100, 400)

    def __post_init__(self) -> None:
        if self.y_max is not None:
            require_positive("y_max", self.y_max)


@dataclass(frozen=True)
class Shape(_Sum):
    """The sum of parts. Parts with prongs share the centres of these.

    Attributes
    ----------
    parts
        Parts of each prong, of the same ``n``.
    uniform
        The even part, or None.
    """

    parts: tuple[Part, ...] = ()
    uniform: Uniform | None = None

    def __post_init__(self) -> None:
        numbers, kinds = {part.n for part in self.parts}, [part.name for part in self.parts]
        if len(numbers) > 1:
            raise InputError(
                f"the parts of a shape share its prongs, expected the same n, found "
                f"{' and '.join(f'{part.n} of {part.name}' for part in self.parts)}."
            )
        if len(set(kinds)) < len(kinds):
            raise InputError(f"{' + '.join(kinds)}: expected each kind of part once. Raise n.")

    @property
    def n(self) -> int:
        """Number of prongs."""
        return self.parts[0].n if self.parts else 0

    @property
    def only_points(self) -> bool:
        """Whether it needs no transport."""
        return self.uniform is None and [part.name for part in self.parts] == [Point.name]

    def __str__(self) -> str:
        names = [part.name for part in (*self.parts, self.uniform) if part is not None]
        return (f"{self.n}-" if self.n else "") + "+".join(names)


@dataclass(frozen=True)
class Isotropy:
    """The even distribution of a whole event: its distance is 0 for an even event, at most 1.

    Parameters
    ----------
    geometry
        "ring": transverse momenta in azimuth. "cylinder": transverse momenta in |y| < ``y_max``, for
        ``beta=2``. "sphere": energies in all directions.
    y_max
        Largest |rapidity| of the cylinder.

    References
    ----------
    Cesarotti, Thaler: arXiv:2004.06125.
    """

    geometry: Literal["ring", "cylinder", "sphere"]
    y_max: float | None = None

    def __post_init__(self) -> None:
        _need_known("geometry", self.geometry, ("ring", "cylinder", "sphere"))
        if (self.y_max is None) == (self.geometry == "cylinder"):
            raise InputError(
                f"y_max is {self.y_max}, expected a positive number for the cylinder and none for "
                "the others."
            )
        if self.y_max is not None:
            require_positive("y_max", self.y_max)

    def __str__(self) -> str:
        return f"{self.geometry} isotropy"


def check_beta(shape: object, beta: float) -> None:
    """Refuse an exponent that a shape does not take."""
    require_number("beta", beta)
    if isinstance(shape, Isotropy):
        if beta not in ((2.0,) if shape.geometry == "cylinder" else (1.0, 2.0)):
            raise InputError(f"beta is {beta:g}, expected 1 or 2, and 2 for the cylinder.")
    elif not 1.0 <= beta <= 2.0:
        raise InputError(f"beta is {beta}, expected a number from 1 to 2.")


_KINDS: dict[str, type[Part]] = {kind.name: kind for kind in (Point, Ring, Disk, Ellipse)}
_EVENTS = ("ring isotropy", "cylinder isotropy", "sphere isotropy")


def _need_known(what: str, name: object, valid: tuple[str, ...]) -> None:
    if name not in valid:
        raise InputError(f"unknown {what} {name!r}{nearest(str(name), valid)}.")


def shape_of(shape: object) -> Shape:
    """A part or a sum of parts as a sum.

    Raises
    ------
    InputError
        If it is neither.
    """
    if isinstance(shape, Shape):
        return shape
    if isinstance(shape, Uniform):
        return Shape(uniform=shape)
    if isinstance(shape, Part):
        return Shape((shape,))
    raise InputError(
        f"shape is {shape!r}, expected one of djservice.shapes such as Disk(n=2) + Uniform()."
    )


def named_shape(name: str, n: int, y_max: float | None = None) -> Shape | Isotropy:
    """A shape by its name in a configuration, such as ``disk+point+uniform`` or ``sphere``."""
    if name in _EVENTS:
        return Isotropy(name.split()[0], y_max)  # type: ignore[arg-type]
    names = [part.strip() for part in str(name).split("+")]
    for part in names:
        _need_known("shape", part, (*_KINDS, Uniform.name, *_EVENTS))
        if part in _EVENTS:
            raise InputError(f"shape is {name!r}, but {part} is no part of a sum. Take it alone.")
    if names.count(Uniform.name) > 1:
        raise InputError("a shape has one uniform part at most.")
    uniform = Uniform(y_max) if Uniform.name in names else None
    if y_max is not None and uniform is None:
        raise InputError(f"y_max is {y_max}, but shape {name} has no uniform part.")
    return Shape(tuple(_KINDS[part](n) for part in names if part in _KINDS), uniform)
