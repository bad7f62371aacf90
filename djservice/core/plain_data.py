"""Plain data that a user wrote, as YAML or JSON: numbers, text, lists and mappings of bounded size.

A key that stands twice, an alias that stands for millions of values, or a number of a thousand
digits is a mistake or an attack. Each is refused before anything is built from it.
"""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from djservice.core.redact import message_of
from djservice.errors import ConfigError

#: Longest text of a configuration, in characters. A larger one is refused before it is parsed.
LONGEST_TEXT = 1_000_000
#: Deepest nesting, most values (aliases count as what they stand for) and most characters in them.
DEEPEST, MOST_VALUES, MOST_CHARACTERS = 30, 200_000, 10_000_000
#: Most aliases, most keys of a mapping with merged ones, and most digits of an integer, in YAML.
MOST_ALIASES, MOST_KEYS, MOST_DIGITS = 100, 10_000, 20

#: Characters that no name or path has: those that control a terminal, and halves of characters.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


class _Loader(yaml.SafeLoader):
    """YAML as plain data. Dates stay text, and each mapping names a key once."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth, self.aliases = 0, 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth += 1
        self.aliases += self.check_event(yaml.AliasEvent)
        if self.depth > DEEPEST or self.aliases > MOST_ALIASES:
            raise yaml.MarkedYAMLError(
                problem=f"expected at most {DEEPEST} levels and {MOST_ALIASES} aliases, found more",
                problem_mark=self.get_mark(),
            )
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        keys = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in keys:
                    raise yaml.MarkedYAMLError(
                        problem=f"expected the key {key.value!r} once, found it again",
                        problem_mark=key.start_mark,
                    )
                keys.add(key.value)
        return node

    def flatten_mapping(self, node: Any) -> None:
        super().flatten_mapping(node)
        if len(node.value) > MOST_KEYS:
            raise yaml.MarkedYAMLError(
                problem=f"expected at most {MOST_KEYS:,} keys, found {len(node.value):,}",
                problem_mark=node.start_mark,
            )

    def construct_yaml_int(self, node: Any) -> int:
        if len(node.value) > MOST_DIGITS:
            raise yaml.MarkedYAMLError(
                problem=f"expected an integer of at most {MOST_DIGITS} digits, "
                f"found {len(node.value):,}",
                problem_mark=node.start_mark,
            )
        return int(super().construct_yaml_int(node))


#: Numbers as everybody reads them. YAML 1.1 also takes 010 for 8 and 1:30 for 90; here it is text.
_NUMBERS = {
    "tag:yaml.org,2002:int": r"[-+]?(0|[1-9][0-9]*)",
    "tag:yaml.org,2002:float": (
        r"[-+]?((0|[1-9][0-9]*)\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
    ),
}
_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, re.compile(f"(?:{_NUMBERS[tag]})\\Z") if tag in _NUMBERS else pattern)
        for tag, pattern in resolvers
        if tag != "tag:yaml.org,2002:timestamp"
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def yaml_data(text: str, where: str) -> Any:
    """Plain data from YAML text.

    Parameters
    ----------
    where
        Name of the text in messages.

    Raises
    ------
    ConfigError
        If it is not YAML, too large, names a key twice, or holds what no configuration needs.
    """
    if len(text) > LONGEST_TEXT:
        raise ConfigError(
            f"{where}: expected at most {LONGEST_TEXT:,} characters, found more. Name files by "
            "patterns such as data/*.root, or in a fileset."
        )
    try:
        data = yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, KeyError, AttributeError) as error:  # !!bool x: a KeyError
        raise ConfigError(f"{where}: not valid YAML: {_yaml_problem(error)}") from None
    check_plain(data, where)
    return data


def _yaml_problem(error: Exception) -> str:
    """The problem and its place, without a line of the text, which may hold a secret."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None or problem is None:
        return message_of(error)
    return f"{problem} (line {mark.line + 1}, column {mark.column + 1})"


def read_yaml(path: str | Path, advice: str) -> Any:
    """Plain data from a YAML file.

    Raises
    ------
    ConfigError
        If the file cannot be read, with the advice, or :func:`yaml_data` refuses its text.
    """
    if not isinstance(path, (str, Path)):
        raise ConfigError(f"expected the path of a YAML file, found {reprlib.repr(path)}{advice}")
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(LONGEST_TEXT + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}){advice}") from None
    except ValueError as error:  # no text, or a path with a NUL
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    return yaml_data(text, str(path))


def unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The ``object_pairs_hook`` of :func:`json.load` that refuses a repeated key.

    Raises
    ------
    ValueError
        If a key stands twice.
    """
    data: dict[str, Any] = {}
    for key, value in pairs:
        if key in data:
            raise ValueError(f"the key {key!r} stands twice in one object")
        data[key] = value
    return data


def check_plain(data: Any, where: str) -> None:
    """Refuse data that are too large or too deep, NaN, and text with control characters.

    Python objects are left alone.

    Raises
    ------
    ConfigError
        If something is refused. The message names its place.
    """
    values = characters = 0
    waiting: list[tuple[str, int, Any]] = [("", 0, data)]
    while waiting:
        key, depth, value = waiting.pop()
        values += 1
        text = value if isinstance(value, str) else ""
        problem = None
        if isinstance(value, (Mapping, list, tuple)):
            pairs = list(value.items() if isinstance(value, Mapping) else enumerate(value))
            waiting += [(f"{key}.{name}"[:200], depth + 1, item) for name, item in pairs[::-1]]
            text = "".join(name for name, _ in pairs if isinstance(name, str))
        elif isinstance(value, float) and math.isnan(value):
            problem = "expected a number, found NaN"
        characters += len(text)
        if _CONTROL.search(text):
            problem = f"expected text without control characters, found {text[:100]!r}"
        if depth > DEEPEST or values + len(waiting) > MOST_VALUES or characters > MOST_CHARACTERS:
            problem = (
                f"expected at most {DEEPEST} levels, {MOST_VALUES:,} values and "
                f"{MOST_CHARACTERS:,} characters, found more"
            )
        if problem:
            place = f"{where}: {key.removeprefix('.')}" if key else where
            raise ConfigError(f"{place}: {problem}. Correct this value.")
