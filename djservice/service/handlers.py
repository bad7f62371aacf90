"""Handlers of messages from clients: what a method needs is checked, and errors are plain data."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from djservice.core.redact import redacted
from djservice.errors import DjserviceError, ServiceError


def as_handler(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[dict[str, Any]]]:
    """A handler that answers errors as plain data, without a traceback in the scheduler's log."""

    signature = inspect.signature(method)

    async def handler(**arguments: Any) -> dict[str, Any]:
        try:
            _check_arguments(signature, arguments)
            return {"answer": await method(**arguments)}
        except DjserviceError as error:
            return {"error": type(error).__name__, "message": redacted(str(error))}

    return handler


def _check_arguments(signature: inspect.Signature, arguments: dict[str, Any]) -> None:
    """Refuse a message that another version, or another program, has made."""
    kinds: dict[str, Any] = {"run_id": str, "user": str, "number": (int, type(None))}
    named = {*arguments} == {*signature.parameters}
    if not named or not all(
        isinstance(arguments[n], k) for n, k in kinds.items() if n in arguments
    ):
        raise ServiceError(
            f"expected a message with {', '.join(signature.parameters) or 'nothing'}, found another "
            "one. Use the same version of djservice as the scheduler."
        )
