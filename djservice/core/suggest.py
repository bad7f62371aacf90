"""Names for messages: those nearest to one that is missing or misspelt come first."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

#: Longest list of names in a message.
_LISTED = 12


def nearest(name: str, valid: Sequence[str]) -> str:
    """Text for a message: the valid name most similar to ``name``, and all valid names."""
    close = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f" ({hint}valid: {', '.join(valid)})"


def listed(names: Sequence[str], target: str) -> str:
    """Text for a message: a dozen of names, those most similar to ``target`` first."""
    if not names:
        return "none"
    similar = sorted(
        names, key=lambda name: -difflib.SequenceMatcher(None, name.lower(), target.lower()).ratio()
    )
    more = f" and {len(similar) - _LISTED} more" if len(similar) > _LISTED else ""
    return ", ".join(repr(name) for name in similar[:_LISTED]) + more
