"""Plain data that a user wrote: what is refused, quickly and in a short message."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from djservice.config.run import Run
from djservice.core.plain_data import yaml_data
from djservice.errors import LONGEST, ConfigError, DjserviceError, InputError
from djservice.input.fileset import load_fileset
from djservice.reprocessing.config import Reprocessing

BASE = "loss: {target: 125.0}\noutput: {store: x.zarr}\n"
FILES = 'input: {files: "example:ZHllbb_200"}\n'
LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefg", "bcdefgh", strict=True)
)
CUT = FILES + "loss: {target: 1.0, cuts: [{name: mass_below, maximum: %s}]}\noutput: {store: x}\n"

#: Texts of a configuration, and what the message says.
WRONG: dict[str, tuple[str, str]] = {
    "billion laughs": (LAUGHS + "input: {files: *h}\n" + BASE, "200,000 values"),
    "many aliases": ("a: &a 1\nb: [" + "*a, " * 101 + "]\n", "100 aliases"),
    "long aliases": (f"a: &a {'x' * 200_000}\nb: [{'*a, ' * 99}]\n", "characters, found more"),
    "list in itself": ("input: {files: &a [*a]}\n" + BASE, "at most 30 levels"),
    "20,000 brackets": ("input: {files: " + "[" * 20_000 + "]" * 20_000 + "}\n", "30 levels"),
    "20,000 mappings": ("input: " + "{a: " * 20_000 + "}" * 20_000, "30 levels"),
    "5,000 digits": ("seed: " + "9" * 5_000 + "\n" + FILES + BASE, "at most 20 digits"),
    "hexadecimal digits": ("seed: 0x" + "f" * 5_000 + "\n", "expected a whole number"),
    "a key twice": (FILES + FILES + BASE, "expected the key 'input' once"),
    "a nested key twice": (FILES + "loss: {target: 1.0, target: 2.0}\n", "the key 'target' once"),
    "many keys": ("a: {" + ", ".join(f"k{i}: 1" for i in range(10_001)) + "}\n", "10,000 keys"),
    "NUL": (FILES + 'loss: {target: 1.0}\noutput: {store: "a\\0b"}\n', "control characters"),
    "NUL in a key": (FILES + BASE + '"a\\0b": 1\n', "control characters"),
    "an escape of a terminal": (FILES + BASE + 'task: "\\e[31m"\n', "control characters"),
    "half a character": (FILES + BASE + 'task: "\\ud800"\n', "control characters"),
    "a parameter that is NaN": (CUT % ".nan", r"maximum: expected a number, found NaN"),
    "a parameter that is a set": (CUT % "!!set {a}", "parameter 'maximum': expected a number"),
    "a parameter in bytes": (CUT % "!!binary aGk=", "parameter 'maximum': expected a number"),
    "no boolean": ("seed: !!bool x\n" + FILES + BASE, "not valid YAML"),
    "no time": ("seed: !!timestamp x\n" + FILES + BASE, "not valid YAML"),
    "Python": ("seed: !!python/object/apply:os.system [ls]\n" + FILES + BASE, "not valid YAML"),
    "too long": ("#" + "x" * 1_000_000, "at most 1,000,000 characters"),
    "2,000 wrong entries": (
        f"input: {{files: {list(range(2_000))}}}\n" + BASE,
        "and 1,990 more errors",
    ),
    "a long wrong value": (FILES + BASE + f"task: {'x' * 500_000}\n", "task: expected 'global'"),
    "a long unknown key": (FILES + BASE + f"? {'x' * 500_000}\n: 1\n", "unknown key xxx"),
    "no text": ("\udcff\udcfe", "not valid YAML"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_configuration_is_refused_at_once_in_a_short_line(
    name: str, tmp_path: Path
) -> None:
    text, message = WRONG[name]
    path = tmp_path / "run.yaml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    began = time.process_time()
    with pytest.raises(ConfigError, match=message) as error:
        Run.from_yaml(path)
    assert time.process_time() - began < 20.0  # a bomb takes minutes, or all memory
    assert len(str(error.value)) <= LONGEST and "\n" not in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((text, text) for text in ("1:30", "010", "0b11", "0x1F", "1_0", "0o17", "1:30.5", "1_0.5")),
        ("12", 12), ("-5", -5), ("+5", 5), ("0", 0), (".5", 0.5), ("1.", 1.0), ("1.5e-3", 0.0015),
    ],
)  # fmt: skip
def test_numbers_are_what_everybody_reads_in_them(text: str, value: Any) -> None:
    """YAML 1.1 takes 1:30 for 90 and 010 for 8."""
    read = yaml_data(f"a: {text}", "x")["a"]
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("optimiser", "iterations", True),
        ("scan", "radii", [0.5, True, 0.9, 1.0]),
        ("", "seed", False),
    ],
)
def test_yes_is_no_number(section: str, key: str, value: Any) -> None:
    data = {"input": {"files": "a"}, "loss": {"target": 1.0}, "output": {"store": "x"}}
    wrong = {section: {key: value}} if section else {key: value}
    with pytest.raises(ConfigError, match=f"{key}: expected a number, found"):
        Run.from_dict(data | wrong)


def test_dates_are_text_and_ordinary_yaml_stays() -> None:
    text = "base: &base {a: 1, b: [2.5, yes, null, 'x']}\nmore: {<<: *base, a: 3}\nday: 2026-01-31"
    assert yaml_data(text, "x") == {
        "base": {"a": 1, "b": [2.5, True, None, "x"]},
        "more": {"a": 3, "b": [2.5, True, None, "x"]},
        "day": "2026-01-31",
    }


@pytest.mark.parametrize(
    "override",
    ["input=" + "[" * 20_000, "seed=" + "9" * 5_000, 'output.store="a\\0b"', "input={a: 1, a: 2}"],
)
def test_settings_of_the_command_line_have_the_same_bounds(override: str, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(FILES + BASE)
    with pytest.raises(ConfigError) as error:
        Run.from_yaml(path, [override])
    assert len(str(error.value)) <= LONGEST


def test_data_of_a_submission_and_of_reprocessing_too(tmp_path: Path) -> None:
    data: dict[str, Any] = {"input": {"files": "example:ZHllbb_200"}, "loss": {"target": 1.0}}
    deep: list[Any] = []
    for _ in range(100):
        deep = [deep]
    for wrong in ({"seed": deep}, {"task": "a\0b"}, {"loss": {"target": float("nan")}}):
        with pytest.raises(ConfigError):
            Run.from_dict({**data, "output": {"store": "x"}, **wrong})
    path = tmp_path / "nightly.yaml"
    path.write_text("run: a.yaml\nrun: b.yaml\nfolder: f\n")
    with pytest.raises(ConfigError, match="the key 'run' once"):
        Reprocessing.from_yaml(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"ZH": {"files": {"a.root": "Events"}}, "ZH": {}}', "the key 'ZH' stands twice"),
        ('{"ZH": ' + "[" * 100_000 + "]" * 100_000 + "}", "RecursionError"),
        ('{"ZH": ' + "9" * 5_000 + "}", "ValueError"),
        (json.dumps({"ZH": {"files": {f"{i}.root": i for i in range(20_000)}}}), "ZH"),
    ],
)
def test_a_fileset_in_json_too(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "fileset.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        load_fileset(str(path))
    assert len(str(error.value)) <= LONGEST


@pytest.mark.parametrize("kind", [DjserviceError, *DjserviceError.__subclasses__()])
def test_every_error_is_short_and_keeps_its_end(kind: type[DjserviceError]) -> None:
    import pickle

    error = kind(f"run.yaml: {'x' * 6_400_000}. Choose another name.")
    for text in (str(error), str(pickle.loads(pickle.dumps(error)))):
        assert len(text) <= LONGEST
        assert text.startswith("run.yaml: xxx") and text.endswith("x. Choose another name.")
