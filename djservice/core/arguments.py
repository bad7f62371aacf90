"""Arguments of the public functions: keywords that several share, and errors for wrong ones."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from djservice.core.suggest import nearest
from djservice.errors import ArgumentError

Public = TypeVar("Public", bound=Callable[..., Any])


def takes(keywords: type, defaults: Mapping[str, Any]) -> Callable[[Public], Public]:
    """Decorator that shows the keywords of ``**keywords: Unpack[...]``, which several functions share.

    Wrong arguments are refused as by :func:`checked_arguments`.

    Parameters
    ----------
    keywords
        TypedDict that types and documents the keywords.
    defaults
        Their defaults, by name.
    """

    def decorate(function: Public) -> Public:
        signature = inspect.signature(function)
        *parameters, _ = signature.parameters.values()
        flat = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=defaults[name],
                annotation=getattr(kind, "__forward_arg__", kind),
            )
            for name, kind in keywords.__annotations__.items()
        ]
        signature = signature.replace(parameters=[*parameters, *flat])
        function.__signature__ = signature  # type: ignore[attr-defined]
        return checked_arguments(function)

    return decorate


def checked_arguments(public: Public) -> Public:
    """Decorator of a function or class that refuses wrong arguments with an error of djservice.

    The function raises :class:`djservice.errors.ArgumentError` if an argument is missing, unknown
    or in excess.
    """
    call = public.__init__ if isinstance(public, type) else public  # type: ignore[misc]
    signature, name = inspect.signature(call), call.__qualname__.removesuffix(".__init__")

    @functools.wraps(call)
    def checked(*positional: Any, **named: Any) -> Any:
        try:
            signature.bind(*positional, **named)
        except TypeError as error:
            raise _explained(name, signature, named, error) from None
        return call(*positional, **named)

    if isinstance(public, type):
        public.__init__ = checked  # type: ignore[misc]
        return public
    return checked  # type: ignore[return-value]


def _explained(
    name: str, signature: inspect.Signature, named: Mapping[str, Any], error: TypeError
) -> ArgumentError:
    """The error of a call whose arguments do not fit a signature."""
    parameters = {key: p for key, p in signature.parameters.items() if key not in ("self", "cls")}
    unknown = [key for key in named if key not in parameters]
    if unknown:
        return ArgumentError(
            f"{name}: unknown argument {unknown[0]}{nearest(unknown[0], list(parameters))}."
        )
    needed = [
        key for key, p in parameters.items() if p.default is p.empty and p.kind != p.VAR_KEYWORD
    ]
    others = [key for key in parameters if key not in needed]
    return ArgumentError(
        f"{name}: {error}. Give {' and '.join(needed) or 'none that is needed'}"
        + (f"; optional are {', '.join(others)}." if others else ".")
    )
