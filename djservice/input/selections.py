"""A user's selection of events and particles, by the name of an installed entry point: the same function as in coffea.

A selection takes coffea's NanoEvents, with any further parameters of its own by name, and returns those that are to be clustered:
``events[mask]``, with other particles put in their place by ``ak.with_field(events, particles, "PFCands")`` where it cleans them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.core.entry_points import installed
from djservice.core.fingerprints import fingerprint
from djservice.core.suggest import nearest
from djservice.errors import ConfigError, InputError
from djservice.input.nanoevents import ENTRY


def named_selections() -> dict[str, Callable[..., Any]]:
    """What a run configuration can name: the functions of the entry-point group ``djservice.selections``."""
    return installed("djservice.selections")


def find_selection(given: Mapping[str, Any]) -> Callable[..., Any]:
    """The function that a mapping with its name and its parameters stands for.

    Raises
    ------
    ConfigError
        If there is none of that name, or it does not take these parameters.
    """
    known, name = named_selections(), given.get("name")
    if name not in known:
        near = nearest(str(name), list(known)) if known else " (none is installed)"
        raise ConfigError(
            f"input.selection: unknown name {name!r}{near}. Install a package with it in the entry-point group "
            "djservice.selections, here and on the workers."
        )
    function = known[name]
    try:
        inspect.signature(function).bind(None, **_parameters(given))
    except TypeError as error:
        raise ConfigError(
            f"input.selection: {name}{inspect.signature(function)}: {error}."
        ) from None
    return function


def selection_fingerprint(given: Mapping[str, Any] | None) -> str:
    """What a store and a cache remember of a selection: its function's name and a hash of its source; empty without one."""
    return "" if given is None else fingerprint(find_selection(given))


def select(
    events: Any, given: Mapping[str, Any], place: str, start: int
) -> tuple[Any, NDArray[np.int64]]:
    """The events that a selection lets through, and their entries.

    Parameters
    ----------
    events
        NanoEvents.
    given
        The selection.
    place, start
        How messages call the events, and the entry of the first.

    Raises
    ------
    InputError
        If the selection fails, or returns something else than events.
    """
    import awkward as ak

    name = given["name"]
    events = ak.with_field(events, start + np.arange(len(events)), ENTRY)
    try:
        chosen = find_selection(given)(events, **_parameters(given))
    except ConfigError:
        raise
    except Exception as error:
        found = " ".join(str(error).split())
        raise InputError(
            f"{place}: the selection {name!r} raised {type(error).__name__}: {found[:500]}."
        ) from error
    if (
        not isinstance(chosen, ak.Array)
        or ENTRY not in ak.fields(chosen)
        or ak.any(ak.is_none(chosen[ENTRY]))
    ):
        raise InputError(
            f"{place}: the selection {name!r} returned {str(getattr(chosen, 'type', type(chosen).__name__))[:200]}, expected "
            "the events that pass, as events[mask], none of them None."
        )
    return chosen, np.asarray(ak.to_numpy(chosen[ENTRY]), dtype=np.int64)


def _parameters(given: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in given.items() if key != "name"}
