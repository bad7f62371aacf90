"""Selections: user functions that select events and particles, installed as entry points.

A selection takes coffea's NanoEvents and its own parameters by name, as in a coffea analysis. It
returns the events to cluster, as ``events[mask]``. To replace the particles it returns
``ak.with_field(events, particles, "PFCands")``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.core.entry_points import installed
from djservice.core.fingerprints import fingerprint
from djservice.core.named import check_parameters
from djservice.core.suggest import nearest
from djservice.core.user_functions import called
from djservice.errors import ConfigError, InputError
from djservice.input.nanoevents import ENTRY


def named_selections() -> dict[str, Callable[..., Any]]:
    """Selections by name: the functions of the entry-point group ``djservice.selections``."""
    return installed("djservice.selections")


def find_selection(selection: Mapping[str, Any]) -> Callable[..., Any]:
    """The function of a selection, which is a mapping with a name and parameters.

    Raises
    ------
    ConfigError
        If no selection has this name, or it does not take these parameters.
    """
    selections, name = named_selections(), selection.get("name")
    if name not in selections:
        near = nearest(str(name), list(selections)) if selections else " (none is installed)"
        raise ConfigError(
            f"input.selection: unknown name {name!r}{near}. Install a package with it in the "
            "entry-point group djservice.selections, here and on the workers."
        )
    function = selections[name]
    _, *parameters = inspect.signature(function).parameters.values()
    check_parameters(selection, {p.name: p for p in parameters}, "input.selection")
    return function


def selection_fingerprint(selection: Mapping[str, Any] | None) -> str:
    """Name and source hash of a selection's function, for stores and caches.

    Empty without a selection.
    """
    return "" if selection is None else fingerprint(find_selection(selection))


def select(
    events: Any, selection: Mapping[str, Any], place: str, start: int
) -> tuple[Any, NDArray[np.int64]]:
    """The events that pass a selection, and their entries.

    Parameters
    ----------
    events
        NanoEvents.
    selection
        Name and parameters of the selection.
    place, start
        Name of the events in messages, and the entry of the first event.

    Raises
    ------
    InputError
        If the selection raises an error, or does not return events.
    """
    import awkward as ak

    name = selection["name"]
    events = ak.with_field(events, start + np.arange(len(events)), ENTRY)
    chosen = called(
        f"{place}: the selection {name!r}",
        find_selection(selection),
        events,
        **_parameters(selection),
    )
    if (
        not isinstance(chosen, ak.Array)
        or ENTRY not in ak.fields(chosen)
        or ak.any(ak.is_none(chosen[ENTRY]))
    ):
        raise InputError(
            f"{place}: the selection {name!r} returned "
            f"{str(getattr(chosen, 'type', type(chosen).__name__))[:200]}, expected the events "
            "that pass, as events[mask], none of them None."
        )
    return chosen, np.asarray(ak.to_numpy(chosen[ENTRY]), dtype=np.int64)


def _parameters(selection: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in selection.items() if key != "name"}
