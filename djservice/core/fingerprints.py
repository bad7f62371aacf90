"""A name and a hash for a Python function."""

from __future__ import annotations

import hashlib
import inspect
import reprlib
from collections.abc import Callable
from typing import Any

from djservice.errors import InputError


def need_named(function: Any, argument: str) -> None:
    """Refuse what is no function with a name, by which stores know it.

    Raises
    ------
    InputError
        If it cannot be called, or has no name.
    """
    if not (callable(function) and hasattr(function, "__qualname__")):
        raise InputError(
            f"{argument} is {reprlib.repr(function)}, expected a function. Write one with def."
        )


def fingerprint(function: Callable[..., Any]) -> str:
    """Qualified name of a function, with a hash of its source and its captured values.

    The bytecode is hashed if there is no source.
    """
    try:
        source = inspect.getsource(function).encode()
    except (OSError, TypeError):
        source = function.__code__.co_code + repr(function.__code__.co_consts).encode()
    captured = [cell.cell_contents for cell in function.__closure__ or ()] + list(
        function.__defaults__ or ()
    )
    names = [_captured_name(value) for value in captured]
    digest = hashlib.sha256(source + repr(names).encode()).hexdigest()[:16]
    return f"{function.__module__}.{function.__qualname__}#{digest}"


def _captured_name(value: Any) -> str:
    """A captured value as text that is the same in every process."""
    if isinstance(text := getattr(value, "fingerprint", None), str):
        return text
    return fingerprint(value) if inspect.isfunction(value) else repr(value)
