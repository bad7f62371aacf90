"""Document: the root of a configuration, read from plain data or from YAML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import ValidationError

from djservice.config.base import Section, without_credentials
from djservice.config.explanations import explained
from djservice.core.plain_data import check_plain, read_yaml, yaml_data
from djservice.errors import ConfigError


class Document(Section):
    """A whole configuration.

    Attributes
    ----------
    noun
        What it describes, in messages.
    start
        End of the message about a missing file: where to get one.
    """

    noun: ClassVar[str]
    start: ClassVar[str]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str = "") -> Self:
        """A configuration from plain data; ``where`` they are, for messages.

        Raises
        ------
        ConfigError
            If the data are invalid. The message names each key at fault, what was expected and
            found, and for an unknown key the nearest valid one.
        """
        where = where or cls.noun
        check_plain(data, where)
        try:
            return cls.model_validate(without_credentials(data))
        except ValidationError as error:
            raise ConfigError(
                f"{where}: {explained(error, cls, cls.noun)}{_of_another(cls, data)}"
            ) from None

    @classmethod
    def from_yaml(cls, path: str | Path, overrides: Sequence[str] = ()) -> Self:
        """A configuration from a YAML file.

        Parameters
        ----------
        path
            Path of the file.
        overrides
            Settings such as ``section.key=value``, with the value in YAML.

        Raises
        ------
        ConfigError
            If the file does not exist, is not YAML, or is not a valid configuration.
        """
        data = read_yaml(path, cls.start)
        if not isinstance(data, dict):
            raise ConfigError(
                f"{path}: expected a mapping of sections, found {type(data).__name__}."
            )
        for text in overrides:
            _override(data, text)
        return cls.from_dict(data, str(path))


#: Sections that only one kind of configuration has, and the command that takes it.
_COMMANDS = {
    "shape": "djservice shapes",
    "distance": "djservice emd",
    "loss": "djservice run",
    "objective": "djservice run",
}


def _of_another(document: type[Document], data: Mapping[str, Any]) -> str:
    """The end of a message about data that are another kind of configuration."""
    for key, command in _COMMANDS.items():
        if key in data and key not in document.model_fields:
            return f". A configuration with {key} is for `{command}`"
    return ""


def _override(data: dict[str, Any], text: str) -> None:
    """Set one ``section.key=value`` in place."""
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise ConfigError(
            f"--set {text!r}: expected section.key=value, as in optimiser.learning_rate=0.02."
        )
    *sections, last = path.split(".")
    place: Any = data
    for section in sections:
        if isinstance(place, list) and section.isdigit() and int(section) < len(place):
            place = place[int(section)]
        else:
            place = place.setdefault(section, {}) if isinstance(place, dict) else None
    if not isinstance(place, dict):
        raise ConfigError(f"--set {path}: {'.'.join(sections)} is not a section.")
    place[last] = yaml_data(value, f"--set {path}")
