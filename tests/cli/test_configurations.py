"""Configurations to start from, their schema, and what `djservice check` says of them before a run."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
import yaml
from click.shell_completion import BashComplete
from click.testing import CliRunner, Result

from djservice.cli import main
from djservice.cli.configurations import KINDS, model_of
from djservice.config.kinds import json_schema

WORKFLOWS = Path(__file__).parents[2] / "workflows"


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "arguments",
    [
        *(["run", "run.yaml", option, "pipe"] for option in ("--tls-key", "--tls-cert")),
        ["list", "--scheduler", "tls://127.0.0.1:1", "--tls-ca-file", "pipe"],
        ["init", "pipe", "--force"],
        ["schema", "pipe"],
    ],
)
def test_a_pipe_in_the_place_of_a_file_is_named(arguments: list[str]) -> None:
    """Before it blocks who opens it."""
    os.mkfifo("pipe")
    Path("run.yaml").write_text("")
    ended = call(*arguments)
    assert ended.exit_code in (1, 2) and "found a named pipe" in ended.output, ended.output


def every_command(group: click.Group = main, before: str = "") -> Iterator[tuple[str, set[str]]]:
    """Each command, also those of groups, with its options."""
    for name, command in group.commands.items():
        options = {option for parameter in command.params for option in parameter.opts}
        yield before + name, options
        if isinstance(command, click.Group):
            yield from every_command(command, f"{before}{name} ")


def call(*arguments: Any) -> Result:
    """A command, which may fail but never by an exception that nobody expected."""
    ended = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
    return ended


@pytest.mark.parametrize("kind", KINDS)
def test_a_template_is_valid_and_names_its_schema(kind: str) -> None:
    assert call("init", "--for", kind).exit_code == 0
    assert call("schema", "--for", kind).exit_code == 0
    text = Path(f"{kind}.yaml").read_text()
    named = re.match(r"# yaml-language-server: \$schema=(\S+)\n", text)
    assert named is not None
    schema = json.loads(Path(named[1]).read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(yaml.safe_load(text), schema)
    assert json.loads(call("schema", "-", "--for", kind).stdout) == schema
    model_of(kind).from_yaml(f"{kind}.yaml")  # type: ignore[attr-defined]


def test_a_schema_replaces_a_schema_only() -> None:
    Path("notes.json").write_text("mine")
    ended = call("schema", "notes.json")
    assert (ended.exit_code, "found another file" in ended.output) == (2, True)
    assert Path("notes.json").read_text() == "mine"
    assert [call("schema", "s.json").exit_code for _ in range(2)] == [0, 0]


@pytest.mark.parametrize("path", sorted(WORKFLOWS.glob("*.yaml")), ids=lambda path: path.name)
def test_the_schema_takes_what_a_command_takes(path: Path) -> None:
    data = yaml.safe_load_all(path.read_text())
    first = next(data)
    kinds = {"apply": "reprocess", "distance": "emd", "shape": "shapes", "input": "run"}
    kind = next((kinds[key] for key in kinds if key in first), None)
    if kind is None:  # of Argo or Kubernetes
        pytest.skip("no configuration of djservice")
    jsonschema.validate(first, json_schema(model_of(kind)))


def test_the_schema_refuses_what_a_run_refuses() -> None:
    validator = jsonschema.Draft202012Validator(json_schema(model_of("run")))
    assert not validator.is_valid({"input": {"file": "a.root"}, "output": {"store": "a.zarr"}})
    assert not validator.is_valid({"input": {"files": "a.root"}, "output": {}})


def test_a_run_is_looked_at_without_a_trace(tiny: dict[str, Any], tmp_path: Path) -> None:
    Path("tiny.yaml").write_text(yaml.safe_dump(tiny))
    Path("emd.yaml").write_text(yaml.safe_dump({"input": tiny["input"], "jets": None, "output": {"store": "e.zarr"}}))  # fmt: skip
    Path("shapes.yaml").write_text(yaml.safe_dump({"input": tiny["input"], "shape": {"kind": "ring"}, "output": {"store": "s.zarr"}}))  # fmt: skip
    Path("night.yaml").write_text("run: tiny.yaml\nfolder: results\napply: {files: 'example:ZHllbb_200'}\n")  # fmt: skip
    Path("lund.yaml").write_text(yaml.safe_dump({"input": tiny["input"], "jets": {"prongs": 2}}))
    before = sorted(tmp_path.iterdir())
    for name in ("tiny", "emd", "shapes", "night", "lund"):
        ended = call("check", f"{name}.yaml")
        assert ended.exit_code == 0, ended.output
        assert "40 of 200 entries, in 4 bundles" in ended.stdout
        assert "branches: PFCands_pt, " in ended.stdout and "luminosityBlock" in ended.stdout
        assert ("time: about" in ended.stdout) == (name in ("tiny", "night"))
    assert sorted(tmp_path.iterdir()) == before
    several = call("check", "tiny.yaml", "--set", "robust.augmentations=[rotate, smear]").stdout
    assert (
        "R of each augmentation " in several
        and "R of each" not in call("check", "tiny.yaml").stdout
    )
    assert call("check", "tiny.yaml", "--set", "optimiser.trees=0").exit_code == 2
    assert call("check", "tiny.yaml", "--set", "input.files=gone.root").exit_code == 1
    assert call("check", "tiny.yaml", "--set", "input.entries=[0, 900]").exit_code == 1
    Path("text.root").write_text("no ROOT file")
    for wrong in ("input.files=text.root", "input.tree=gone"):
        assert call("check", "tiny.yaml", "--set", wrong).exit_code == 1
    assert call("check", "gone.zarr").exit_code == 1
    assert call("check", "gone.yaml").exit_code == 2


def test_every_command_has_the_options_of_how_much_it_says(
    tiny: dict[str, Any], scheduler: str
) -> None:
    for name, options in every_command():
        assert {"-q", "-v"} <= options, name
    assert "lund apply" in dict(every_command())
    Path("a.yaml").write_text(yaml.safe_dump(tiny | {"cluster": {"scheduler": scheduler}}))
    quiet = call("run", "a.yaml", "-q", "--no-report")
    assert (quiet.exit_code, quiet.stderr) == (0, "")
    assert "R: 1 -> " in quiet.stdout
    (said,) = call("check", "a.yaml", "-v", "--set", "seed=x").stderr.splitlines()[:1]
    assert said.startswith("djservice: ConfigError")
    assert (
        "ConfigError"
        in call("check", "a.yaml", "-v", "--set", "seed=x").stderr.split("Traceback")[1]
    )
    assert call("check", "a.yaml", "-q", "-v").exit_code == 2


def test_a_shell_completes_commands_and_options() -> None:
    def completed(arguments: list[str], start: str) -> set[str]:
        complete = BashComplete(main, {}, "djservice", "_DJSERVICE_COMPLETE")
        return {item.value for item in complete.get_completions(arguments, start)}

    assert completed([], "re") == {"report", "reprocess", "resume"}
    assert "--tls-ca-file" in completed(["run"], "--t")


def test_it_says_what_to_cite() -> None:
    root = Path(__file__).parents[2]
    texts = (call("--cite").stdout, *((root / name).read_text() for name in ("CITATION.cff", "README.md")))  # fmt: skip
    papers = [set(re.findall(r"\b\d{4}\.\d{4,5}\b", text)) for text in texts]
    assert papers[0] == papers[1] == {"1304.2394", "1201.1914", "0802.1189"}
    assert papers[0] - {"0802.1189"} <= papers[2]


@pytest.mark.parametrize(
    "command", ["run", "scan", "compare", "reprocess", "submit", "list", "doctor"]
)
def test_an_address_with_tls_needs_certificates(command: str, tiny: dict[str, Any]) -> None:
    """One line, which names the options."""
    Path("a.yaml").write_text(yaml.safe_dump(tiny))
    if command == "reprocess":
        Path("a.yaml").write_text("run: b.yaml\nfolder: results\n")
        Path("b.yaml").write_text(yaml.safe_dump(tiny))
    arguments = ["a.yaml"] if command not in ("list", "doctor") else []
    ended = call(command, *arguments, "--scheduler", "tls://127.0.0.1:1")
    assert ended.exit_code == 1
    (line,) = [line for line in ended.output.splitlines() if "--tls-ca-file" in line][-1:]
    assert "none are given for --tls-ca-file, --tls-cert, --tls-key" in line
    assert "Traceback" not in ended.output


def test_every_command_that_takes_a_scheduler_takes_certificates() -> None:
    for name, options in every_command():
        files = {"--tls-ca-file", "--tls-cert", "--tls-key"}
        assert options & files == (files if "--scheduler" in options else set()), name
