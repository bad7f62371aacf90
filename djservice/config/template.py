"""The commented configuration that ``djservice init`` writes.

It has every key, with its default and its description.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from djservice.config.run import Run
from djservice.config.sections import LossTerm
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
}


def template(store: str = "run.zarr") -> str:
    """The configuration as YAML text, for a run into ``store``.

    It is complete, and reads events that are shipped with the package.
    """
    examples = {**_EXAMPLES, "output.store": store}
    lines = [
        "# A djservice run. Start it with: djservice run THIS_FILE. Units are GeV and rad.",
        "",
    ]
    for name, field in Run.model_fields.items():
        section = LossTerm if name == "loss" else field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            lines += [
                f"# {(section.__doc__ or '').strip()}",
                f"{name}:",
                *_keys(name, section, examples),
                "",
            ]
        else:
            lines += [f"{name}: {_yaml(field.default)}  # {field.description}", ""]
    return "\n".join(lines)


def write_template(path: str | Path, force: bool) -> None:
    """Write :func:`template` to a file, for a store named after the file.

    Raises
    ------
    ConfigError
        If the file exists and ``force`` is False, or it cannot be written.
    """
    try:
        with open(path, "w" if force else "x") as file:
            file.write(template(beside(Path(path), ".zarr", ".yaml", ".yml").name))
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
