"""Suggestion of the valid name nearest to a misspelt one."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


def nearest(name: str, valid: Sequence[str]) -> str:
    """Text for a message: the valid name most similar to ``name``, and all valid names."""
    close = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f" ({hint}valid: {', '.join(valid)})"
