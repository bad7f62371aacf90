"""Objects that a configuration names, built from plain data."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from djservice.core.spelling import spelled
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
        raise ConfigError(
            f"{where}: expected a name, or a mapping with a name, found {spelled(value)}."
        )
    parameters = {key: parameter for key, parameter in value.items() if key != "name"}
    name = value["name"]
    if name not in registry:
        raise ConfigError(f"{where}: unknown name {name!r}{nearest(str(name), list(registry))}.")
    factory = registry[name]
    check_parameters(value, inspect.signature(factory).parameters, where)
    try:
        return factory(**parameters)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {spelled(dict(value))}: {error}") from None


def check_parameters(
    value: Mapping[str, Any], accepted: Mapping[str, inspect.Parameter], where: str
) -> None:
    """Refuse a mapping with a name whose parameters a factory does not take, or which lacks one.

    Raises
    ------
    ConfigError
        If a parameter is unknown or missing.
    """
    name, kinds = value["name"], inspect.Parameter
    names = [key for key, p in accepted.items() if p.kind is not kinds.VAR_KEYWORD]
    for key in value:
        if key != "name" and key not in accepted and len(names) == len(accepted):
            raise ConfigError(f"{where}: {name} has no parameter {key!r}{nearest(key, names)}.")
    missing = [key for key in names if accepted[key].default is kinds.empty and key not in value]
    if missing:
        example = ", ".join(f"{key}: ..." for key in missing)
        raise ConfigError(
            f"{where}: {name} needs {' and '.join(missing)}, found {spelled(dict(value))}. Write "
            f"{{name: {name}, {example}}}."
        )


def check_distinct(names: Sequence[str], where: str) -> None:
    """Refuse features of which two have the same name.

    Raises
    ------
    ConfigError
        If two have.
    """
    if len(set(names)) < len(names):
        raise ConfigError(f"{where}: expected different features, found {', '.join(names)}.")
