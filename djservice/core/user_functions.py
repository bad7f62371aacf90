"""Calls of functions that a user wrote, whose exceptions become errors that name the function."""

from __future__ import annotations

import inspect
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from djservice.core.redact import message_of, shareable
from djservice.errors import DjserviceError, InputError

#: Folders of Python, of installed packages and of djservice, whose lines are not the user's.
_LIBRARIES = (
    *(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")),
    str(Path(__file__).parents[1]),
)


def called(what: str, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    """What a user's function returns.

    Parameters
    ----------
    what
        Kind and name of the function, for messages.
    function, arguments, keywords
        The function, and what it is called with.

    Raises
    ------
    InputError
        If the function raises an exception, or exits. The message names the function, the line, the
        exception and what the function was called with; the exception is its cause.
    """
    try:
        return function(*arguments, **keywords)
    except (DjserviceError, MemoryError):
        raise
    except (Exception, SystemExit) as error:  # an exit would end a worker without a word
        text = message_of(error).rstrip(".")
        raise InputError(
            f"{what}{_place(error, function)}: {type(error).__name__}{': ' if text else ''}{text}. "
            f"It was called with {', '.join(map(_shown, arguments))}. Correct the function."
        ) from shareable(error)


def _place(error: BaseException, function: Callable[..., Any]) -> str:
    """The last line of the user's own files that the error passed, as ``, line 3 of x.py``."""
    function = inspect.unwrap(function)
    code = getattr(function, "__code__", None)
    mine = code.co_filename if code else ""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)[1:]
        if frame.filename == mine or not frame.filename.startswith(("<", *_LIBRARIES))
    ]
    if not frames:
        return ""
    file, line = frames[-1].filename, frames[-1].lineno
    if file.startswith("<"):  # a function loses the name of its file on its way to a worker
        file = getattr(function, "__globals__", {}).get("__file__") or ""
    return f", line {line}" + (f" of {Path(file).name}" if file else "")


def _shown(argument: Any) -> str:
    """An argument by its type, and its shape or length."""
    kind = type(argument).__name__
    if (shape := getattr(argument, "shape", None)) is not None:
        return f"{kind} of shape {tuple(shape)}"
    return f"{kind} of length {len(argument)}" if hasattr(argument, "__len__") else kind
