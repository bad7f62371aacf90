"""Observables map the leading jets of a tree to one number; NaN where it is not defined."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike

from djservice.core.arguments import checked_arguments
from djservice.core.array_module import array_module
from djservice.core.bounds import require
from djservice.core.columns import returned
from djservice.core.fingerprints import fingerprint, need_named
from djservice.core.typing import Floats
from djservice.core.user_functions import called
from djservice.core.warn import warn
from djservice.errors import ArgumentError, InputError, InputWarning

#: Number of constituents of each jet that a function gets; "all" for every one of them.
Length = int | Literal["all"]
#: The values of an observable and their derivatives in the four-momenta of jets.
Slopes = Callable[[Floats], tuple[Floats, Floats]]


@dataclass(frozen=True)
class Observable:
    """A number per tree, computed from its leading jets.

    Attributes
    ----------
    function
        Takes the leading jets and returns an array of shape (event, tree), NaN where the observable
        is not defined. The jets are a ``vector`` momentum array of shape (event, tree, jet) in
        falling pT, NaN where a tree has fewer.
    name, units
        Name and units in tables and on axes.
    jets
        Number of leading jets that the function reads.
    on_device
        Whether the function accepts jets on a GPU (docs/gpu.md). Otherwise it gets a copy on the
        host.
    constituents
        Number of constituents that the function gets of a jet, "all" for every one, or None for a
        function of the leading jets alone. The value of a tree is then that of its leading jet
        number ``jets - 1``. The function takes jets, shape (jet,), which are the sums of their
        constituents, and their :class:`djservice.clustering.constituents.JetParticles`. It returns
        an array of shape (jet,). It is called once for each distinct jet of an event, on the host,
        in blocks of jets that may be of any event. So the value of a jet must not depend on the
        other jets of its block.
    parts
        Observables that the function calls with the jets it gets.
    slopes
        Takes px, py, pz and E of the jets, shape (event, tree, jet, 4), NaN for missing ones, and
        returns the values and their derivatives in these, shapes (event, tree) and (event, tree,
        jet, 4). Derivatives in missing jets do not count. None: they are differences.
    """

    function: Callable[..., ArrayLike]
    name: str
    units: str = ""
    jets: int = 2
    on_device: bool = False
    constituents: Length | None = None
    parts: tuple[Observable, ...] = ()
    slopes: Slopes | None = None

    def __post_init__(self) -> None:
        require("jets", self.jets)
        if self.constituents is not None and self.constituents != "all":
            require("constituents", self.constituents, more=", or 'all'")

    @property
    def needs_constituents(self) -> bool:
        """Whether it can only be evaluated on jets that know their constituents."""
        return self.constituents is not None or any(p.needs_constituents for p in self.parts)

    def __call__(self, jets: Any) -> Floats:
        """Value of each tree, shape (event, tree).

        Raises
        ------
        InputError
            If the function fails, or returns another shape or no numbers; or if it needs constituents, and
            the jets do not know theirs.
        """
        what = f"observable {self.name!r}"
        if self.constituents is not None:
            return self._of_constituents(jets, self.constituents, what)
        values: Floats = evaluate_function(self.function, jets, self.on_device, what).astype(
            np.float64, copy=False
        )
        if values.shape != jets.shape[:-1]:
            raise InputError(
                f"observable {self.name!r} returned shape {values.shape}, expected "
                f"{jets.shape[:-1]} (event, tree)."
            )
        return values

    def _of_constituents(self, jets: Any, length: Length, what: str) -> Floats:
        """The function's value of one of the leading jets of each tree."""
        members = getattr(jets, "constituents", None)
        if members is None:
            raise InputError(
                f"{what} needs the constituents of jets, and these have none. Cluster with "
                "constituents=True; jets with soft edges, sums of jets and derivatives in the "
                "particles have none."
            )
        values: Floats = members.evaluate(
            self.function, jets[..., self.jets - 1].slot, length, what
        )
        return values

    def __bool__(self) -> bool:
        raise no_truth("an observable", "Combine cuts of it with &, | and ~.")

    def _compare(self, other: Any) -> Any:
        raise no_truth(
            "a comparison of an observable",
            "Make a cut, djservice.cuts.above(observable, minimum) or below(observable, maximum), "
            "and combine two of them with &.",
        )

    __lt__ = __le__ = __gt__ = __ge__ = _compare

    def __mul__(self, other: Observable) -> Observable:
        """The product of two observables, such as one and a soft threshold."""
        need_observable(other, "another observable in a product")
        # on_device: each of the two moves the jets to the device that it needs.
        return Observable(
            lambda jets: self(jets) * other(jets),
            f"{self.name} * {other.name}",
            " ".join(filter(None, (self.units, other.units))),
            max(self.jets, other.jets),
            on_device=True,
            parts=(self, other),
            slopes=product_slopes(self, other),
        )

    @property
    def fingerprint(self) -> str:
        """Qualified name of the function and a hash of its source, as kept in a store."""
        of = "" if self.constituents is None else f" of {self.constituents} of jet {self.jets - 1}"
        hashed = getattr(self.function, "fingerprint", None)
        return (hashed if isinstance(hashed, str) else fingerprint(self.function)) + of

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the particles that the values depend on, as far as the function says."""
        columns: tuple[str, ...] = getattr(self.function, "columns", ())
        return (*columns, *(column for part in self.parts for column in part.columns))

    def lacking(self, columns: Iterable[str]) -> str:
        """The columns that the values depend on and that are not among some, in a text."""
        return ", ".join(dict.fromkeys(name for name in self.columns if name not in {*columns}))

    @property
    def files(self) -> tuple[str, ...]:
        """Hashes of the files that the values depend on, as kept in a store."""
        hashed = getattr(self.function, "fingerprint", None)
        mine = [hashed] if isinstance(hashed, str) else []
        return (*mine, *(file for part in self.parts for file in part.files))


def defaults_texts(
    observables: Mapping[str, Observable], columns: Iterable[str], where: str
) -> list[str]:
    """What observables read and a place lacks, a line for each; ``observables`` has their names."""
    lacking = {name: observable.lacking(columns) for name, observable in observables.items()}
    return [
        f"{name} reads {missing}, which {where} lacks: defaults are taken "
        "(docs/reference/variables.md)."
        for name, missing in lacking.items()
        if missing
    ]


def warn_of_defaults(observables: Iterable[Observable], columns: Iterable[str]) -> None:
    """Warn that observables read what the particles of some events lack."""
    named = {f"the observable {observable.name!r}": observable for observable in observables}
    for text in defaults_texts(named, columns, "this batch of events"):
        warn(text, InputWarning)


def no_truth(what: str, remedy: str) -> ArgumentError:
    """The error of ``and``, ``or``, ``not``, ``if`` and chains of comparisons."""
    return ArgumentError(f"{what} has no truth value before there are jets. {remedy}")


def need_observable(observable: Any, what: str = "an observable") -> None:
    """Refuse what is no observable.

    Raises
    ------
    InputError
        If it is none.
    """
    if not isinstance(observable, Observable):
        raise InputError(
            f"expected {what}, found {observable!r}. Take one of djservice.observables, or make one "
            "of a function with @djservice.observable(...)."
        )


def product_slopes(first: Observable, second: Observable) -> Slopes | None:
    """The slopes of a product of two observables, None if one has none."""
    if first.slopes is None or second.slopes is None:
        return None
    of_first, of_second = first.slopes, second.slopes

    def slopes(momenta: Floats) -> tuple[Floats, Floats]:
        (f, in_f), (g, in_g) = of_first(momenta), of_second(momenta)
        f_column, g_column = f[..., np.newaxis, np.newaxis], g[..., np.newaxis, np.newaxis]
        return f * g, f_column * in_g + g_column * in_f

    return slopes


def evaluate_function(function: Callable[[Any], Any], jets: Any, on_device: bool, what: str) -> Any:
    """Evaluate a function of jets; the result is an array on the device of the jets.

    The function gets jets on a GPU only with ``on_device``, and a copy on the host otherwise.

    Raises
    ------
    InputError
        If the function, named ``what`` in the message, fails or does not return numbers, or there
        are no jets.
    """
    if not hasattr(jets, "px") or not hasattr(jets, "shape"):
        raise InputError(
            f"{what}: expected jets of shape (event, tree, jet), such as trees.jets of "
            f"djservice.cluster, found {type(jets).__name__}."
        )
    if not hasattr(jets, "on_host"):
        return returned(called(what, function, jets), what)
    if on_device:
        return array_module(jets.px).asarray(called(what, function, jets))
    return array_module(jets.px).asarray(returned(called(what, function, jets.on_host()), what))


@overload
def observable(function: Callable[..., ArrayLike], /) -> Observable: ...
@overload
def observable(
    function: None = None,
    /,
    *,
    units: str = "",
    jets: int | None = None,
    name: str | None = None,
    on_device: bool = False,
    constituents: Length | None = None,
    jet: int = 0,
    slopes: Slopes | None = None,
) -> Callable[[Callable[..., ArrayLike]], Observable]: ...
@checked_arguments
def observable(
    function: Callable[..., ArrayLike] | None = None,
    /,
    *,
    units: str = "",
    jets: int | None = None,
    name: str | None = None,
    on_device: bool = False,
    constituents: Length | None = None,
    jet: int = 0,
    slopes: Slopes | None = None,
) -> Any:
    """Decorator that makes an :class:`Observable` of a function of the jets.

    It has no brackets where it needs no arguments: the function then reads two leading jets.

    Examples
    --------
    >>> @observable(units="GeV", jets=1)
    ... def leading_pt(jets):
    ...     return jets.pt[..., 0]

    With ``on_device=True`` the function gets jets on a GPU without a copy to the host. It may then
    call the functions of NumPy and the methods of arrays that CuPy has.

    With ``constituents`` the function is one of a single jet and its constituents, see
    :class:`Observable`. The value of a tree is that of its leading jet number ``jet``, counted from
    0:

    >>> @observable(constituents=64)
    ... def pt_dispersion(jets, particles):
    ...     pt = particles.momenta.pt
    ...     return (pt**2).sum(axis=-1) ** 0.5 / pt.sum(axis=-1)
    """
    number = 2 if jets is None else jets
    if constituents is not None:
        if jets is not None:
            raise InputError(
                f"jets is {jets}, expected none beside constituents: name the jet with jet=."
            )
        number = require_jet(jet) + 1
    elif jet != 0:
        raise InputError(f"jet is {jet}, expected none without constituents.")

    def wrap(function: Callable[..., ArrayLike]) -> Observable:
        need_named(function, "observable")
        label = name or function.__name__
        return Observable(function, label, units, number, on_device, constituents, slopes=slopes)

    return wrap if function is None else wrap(function)


def require_jet(jet: int) -> int:
    """The place of a leading jet, counted from 0.

    Raises
    ------
    InputError
        If it is no such place.
    """
    if not isinstance(jet, (int, np.integer)) or isinstance(jet, bool) or jet < 0:
        raise InputError(f"jet is {jet!r}, expected the place of a leading jet, 0 or more.")
    require("jets", int(jet) + 1, of="jet + 1")
    return int(jet)
