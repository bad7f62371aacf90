"""The commented configuration that ``djservice init`` writes.

It has every key, with its default and its description.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from djservice.config.kinds import schema_file
from djservice.config.run import Run
from djservice.config.sections import LossTerm
from djservice.core.regular import irregular
from djservice.core.urls import beside
from djservice.errors import ConfigError

#: Examples for keys without a default, or where an example is more useful than the default.
_EXAMPLES: dict[str, Any] = {
    "input.files": ["example:ZHllbb_1000"],
    "input.pt_min": 0.5,
    "loss.target": 125.0,
    "loss.scale": 125.0,
    "loss.cuts": [
        {"name": "two_jets", "pt_min": 20.0, "rapidity_max": 4.9},
        {"name": "mass_below", "maximum": 250.0},
    ],
    "run": "run.yaml",
    "folder": "results",
    "apply.files": ["example:ZHllbb_200"],
    "apply.pt_min": 0.5,
}
#: Examples of other kinds.
_OF_KIND: dict[str, dict[str, Any]] = {
    "emd": {"input.files": ["example:ZHllbb_200"], "jets.pt_min": 20.0},
    "shapes": {"input.files": ["example:ZHllbb_200"], "shape.kind": "disk+point"},
}


def template(model: type[BaseModel] = Run, kind: str = "run", store: str = "run.zarr") -> str:
    """The configuration as YAML text.

    It is complete, and reads events that are shipped with the package.

    Parameters
    ----------
    model
        Model of the configuration.
    kind
        The command that reads it.
    store
        Store that it writes, if it has a key for that.
    """
    examples = {**_EXAMPLES, **_OF_KIND.get(kind, {}), "output.store": store}
    lines = [
        f"# yaml-language-server: $schema={schema_file(kind)}",
        f"# Use it with: djservice {kind} THIS_FILE. Units are GeV and rad.",
        f"# `djservice schema --for {kind}` writes the schema, by which editors complete and check.",
        "",
    ]
    for name, field in model.model_fields.items():
        section = LossTerm if name == "loss" else _section(field.annotation)
        if section is not None and (field.default is not None or name == "apply"):
            lines += [
                f"# {(section.__doc__ or '').strip()}",
                f"{name}:",
                *_keys(name, section, examples),
                "",
            ]
        else:
            value = examples.get(name, field.default)
            lines += [f"{name}: {_yaml(value)}  # {field.description}", ""]
    return "\n".join(lines)


def _section(annotation: Any) -> type[BaseModel] | None:
    """The section that a key holds, or may hold; None for a value."""
    for kind in get_args(annotation) or (annotation,):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def write_template(path: str | Path, model: type[BaseModel], kind: str, force: bool) -> None:
    """Write :func:`template` to a file, for a store named after the file.

    Raises
    ------
    ConfigError
        If the file exists and ``force`` is False, or it cannot be written.
    """
    if other := irregular(path):
        raise ConfigError(f"{path}: expected no file or a configuration, found {other}.")
    try:
        with open(path, "w" if force else "x") as file:
            store = beside(Path(path), ".zarr", ".yaml", ".yml").name
            file.write(template(model, kind, store))
    except FileExistsError:
        raise ConfigError(
            f"{path}: exists already; choose another name, or pass --force to replace it."
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}.") from None


def _keys(section: str, model: type[BaseModel], examples: dict[str, Any]) -> list[str]:
    """One line per key of a section."""
    lines = []
    for name, field in model.model_fields.items():
        key = field.alias or name
        value = examples.get(f"{section}.{key}", field.default)
        if value is PydanticUndefined:
            raise AssertionError(f"{section}.{key} has no default and no example")
        choices = (
            f" ({' | '.join(get_args(field.annotation))})"
            if get_origin(field.annotation) is Literal
            else ""
        )
        lines.append(f"  {key}: {_yaml(value)}  # {field.description}{choices}")
    return lines


def _yaml(value: Any) -> str:
    """A value as YAML on one line."""
    plain = list(value) if isinstance(value, tuple) else value
    return (
        yaml.safe_dump(plain, default_flow_style=True, width=10_000, sort_keys=False)
        .removesuffix("...\n")
        .strip()
    )
