"""Observables that are functions in a user's Python file: ``observable: my_file.py:function``.

Only local runs have them: to read one is to run the file.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from djservice.config.python_file import split_name
from djservice.core.python_sources import source_digest
from djservice.core.redact import message_of
from djservice.core.regular import unusable
from djservice.errors import ConfigError
from djservice.objectives.observable import Observable, observable


@dataclass(frozen=True)
class FileFunction:
    """A function of a file, which stores know by the file's content.

    Attributes
    ----------
    function
        The function.
    fingerprint
        Name of the file and the function, and a hash of the file with what it imports from its
        folder.
    """

    function: Callable[..., Any]
    fingerprint: str

    def __call__(self, *arguments: Any) -> Any:
        """The value of the function."""
        return self.function(*arguments)

    @property
    def __wrapped__(self) -> Callable[..., Any]:
        """The function, for what looks for its code."""
        return self.function

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the particles that the function says it reads."""
        columns: tuple[str, ...] = getattr(self.function, "columns", ())
        return columns


def observable_of_file(text: str, where: str) -> Observable:
    """The observable that ``my_file.py:function`` names.

    The file is run, as an import would do. The function is one of the two leading jets, unless
    ``@djservice.observable(...)`` stands above it and says otherwise.

    Parameters
    ----------
    where
        Place in the configuration, for messages.

    Raises
    ------
    ConfigError
        If the file cannot be read or run, or has no such function.
    """
    path, name = split_name(text)
    place = f"{where}: {path}"
    if problem := unusable(path):
        raise ConfigError(f"{place} {problem}.")
    try:
        source = Path(path).expanduser().read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{place}: cannot be read ({error.strerror or error}). A relative path begins in the "
            "folder where the run is started."
        ) from None
    # The module is in no list of modules, so that its functions travel to workers as they are.
    module = ModuleType(Path(path).name.removesuffix(".py"))
    module.__file__ = path
    try:
        exec(compile(source, path, "exec"), vars(module))
    except (Exception, SystemExit) as error:  # sys.exit() would end the run without a word
        raise ConfigError(f"{place}{_failure(error, path)}") from None
    function = vars(module).get(name)
    if not callable(function):
        names = sorted(key for key, value in vars(module).items() if _is_of(module, value))
        raise ConfigError(
            f"{place}: there is no function {name!r}, expected one of {', '.join(names) or 'none'}."
        )
    made = function if isinstance(function, Observable) else observable(function)
    fingerprint = f"{Path(path).name}:{name}#{_digest(path, place)}"
    return replace(made, function=FileFunction(made.function, fingerprint))


def _digest(path: str, place: str) -> str:
    try:
        return source_digest(Path(path).expanduser())[:16]
    except (OSError, SyntaxError, ValueError) as error:
        raise ConfigError(
            f"{place}: what it imports cannot be read: {message_of(error)}."
        ) from None


def _is_of(module: ModuleType, value: Any) -> bool:
    """Whether a value of a module is an observable, or a function that is defined in it."""
    defined = getattr(value, "__module__", None) == module.__name__
    return isinstance(value, Observable) or (defined and callable(value))


def _failure(error: BaseException, path: str) -> str:
    """Where in the file an error was raised, and what it is, as ``, line 3: ValueError: ...``."""
    if isinstance(error, SyntaxError):
        lines = [error.lineno]
    else:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == path]
    line = f", line {lines[-1]}" if lines and lines[-1] else ""
    return f"{line}: {type(error).__name__}: {error}."
