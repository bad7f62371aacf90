"""Objects that a configuration names, built from plain data."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from djservice.core.suggest import nearest
from djservice.errors import ConfigError

Built = TypeVar("Built")


def build_named(
    value: Any, kind: type[Built], registry: Mapping[str, Callable[..., Built]], where: str
) -> Built:
    """An object from a mapping with its name and parameters; an object stays unchanged.

    Parameters
    ----------
    value
        The mapping, or an object of the ``kind``.
    kind
        Type of the object.
    registry
        Factories by name, whose parameters have names.
    where
        Place in the configuration, for messages.

    Raises
    ------
    ConfigError
        If the name or a parameter is unknown, or a parameter is invalid.
    """
    if isinstance(value, kind):
        return value
    if not isinstance(value, Mapping) or "name" not in value:
        raise ConfigError(f"{where}: expected a name, or a mapping with a name, found {value!r}.")
    parameters = {key: parameter for key, parameter in value.items() if key != "name"}
    name = value["name"]
    if name not in registry:
        raise ConfigError(f"{where}: unknown name {name!r}{nearest(str(name), list(registry))}.")
    factory = registry[name]
    accepted = list(inspect.signature(factory).parameters)
    for key in parameters:
        if key not in accepted:
            raise ConfigError(f"{where}: {name} has no parameter {key!r}{nearest(key, accepted)}.")
    try:
        return factory(**parameters)
    except (TypeError, ValueError) as error:
        signature = ", ".join(
            str(parameter) for parameter in inspect.signature(factory).parameters.values()
        )
        raise ConfigError(
            f"{where}: {name}({signature}) cannot be built from {parameters}: {error}"
        ) from None


def check_distinct(names: Sequence[str], where: str) -> None:
    """Refuse features of which two have the same name.

    Raises
    ------
    ConfigError
        If two have.
    """
    if len(set(names)) < len(names):
        raise ConfigError(f"{where}: expected different features, found {', '.join(names)}.")
