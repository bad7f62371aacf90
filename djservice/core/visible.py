"""Text of others on a terminal or in a log: what could control either is escaped."""

from __future__ import annotations

import unicodedata

#: Controls, marks without width or of direction, halves of characters, and separators of lines.
_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
#: Marks without width that make one character of several.
_JOINERS = "\u200c\u200d"


def visible(text: str, keep: str = "") -> str:
    """A text in which control characters, escape sequences and marks of direction are escaped.

    Parameters
    ----------
    text
        One line.
    keep
        Control characters that stay, as line ends do in a log.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        letter.encode("unicode_escape").decode()
        if unicodedata.category(letter) in _HIDDEN and letter not in keep + _JOINERS
        else letter
        for letter in text
    )
