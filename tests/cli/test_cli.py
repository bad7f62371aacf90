"""The command line: light imports, exit codes, messages, and what a user sees at the end."""

import json
import os
import pty
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result
from pydantic import BaseModel

from djservice.cli import main
from djservice.cli.failures import Commands
from djservice.config.run import Run
from djservice.config.sections import LossTerm
from djservice.errors import InputWarning
from djservice.fit.build import build_loss
from djservice.store.columns import StoreColumns
from djservice.store.run_store import Store

HEAVY = (
    "numpy",
    "numba",
    "awkward",
    "uproot",
    "coffea",
    "dask",
    "distributed",
    "zarr",
    "pydantic",
    "rich",
    "matplotlib",
)

SCRIPTS = Path(sys.executable).parent
Call = Callable[..., Result]


@pytest.mark.parametrize(
    "arguments",
    [[], ["--help"], ["init", "--help"], ["run", "-h"], ["show", "--help"], ["report", "--help"]],
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import sys\nfrom djservice.cli import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit:\n    pass\n"
        f"print('HEAVY', [m for m in {HEAVY!r} if m in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "Usage:" in ended.stdout + ended.stderr
    assert ended.stdout.splitlines()[-1] == "HEAVY []"


#: Modules of a run that nobody needs at its start, and those that its workers do not need at all.
LATE = (
    "scipy.optimize",
    "scipy.special",
    "matplotlib",
    "coffea",
    "torch",
    "jax",
    "sympy",
    "pyarrow.parquet",
)
OF_DRIVERS = ("zarr", "djservice.fit.plan", "djservice.config.run")
WORKER = "djservice.on_dask.admission, djservice.on_dask.plugins, djservice.on_dask.reading, djservice.on_dask.tasks"


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        ("djservice.runs.run", LATE),
        (WORKER, (*LATE, *OF_DRIVERS)),
        ("djservice.service.client", (*LATE, "numba", "zarr")),
    ],
    ids=["driver", "worker", "client"],
)
def test_a_run_loads_only_what_it_needs(modules: str, heavy: tuple[str, ...]) -> None:
    """Every worker of every run waits for it, and everybody who asks a scheduler for runs."""
    program = f"import sys, {modules}; print([m for m in {heavy!r} if m in sys.modules])"
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"


def test_help_has_an_example_of_every_command(call: Call) -> None:
    for name in main.commands:
        text = call(name, "--help").output
        assert re.search(rf"Examples?:\n\s+djservice {name} ", text), name


def test_dask_has_the_command_too() -> None:
    for command in ([SCRIPTS / "dask", "djservice", "--help"], [SCRIPTS / "djservice", "--help"]):
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert "Learn jet radii" in text
        assert "show my_run.zarr --json" in text


def test_init_writes_a_run_with_every_key_described(call: Call, tmp_path: Path) -> None:
    assert call("init", "my.yaml").exit_code == 0
    build_loss(Run.from_yaml(tmp_path / "my.yaml"))
    lines = (tmp_path / "my.yaml").read_text().splitlines()
    sections = {
        **{name: field.annotation for name, field in Run.model_fields.items()},
        "loss": LossTerm,
    }
    for section, model in sections.items():
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            assert any(re.match(rf"{section}: .*  # \w", line) for line in lines), section
            continue
        block = lines[lines.index(f"{section}:") + 1 :]
        for key, field in model.model_fields.items():
            line = next(line for line in block if line.startswith(f"  {field.alias or key}:"))
            assert f"# {field.description}" in line, key


def test_init_names_the_store_after_the_file(call: Call, tmp_path: Path) -> None:
    assert call("init", "my run.yaml").exit_code == 0
    assert Run.from_yaml(tmp_path / "my run.yaml").output.store == "my run.zarr"


def test_init_replaces_nothing_by_itself(call: Call, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("mine")
    again = call("init")
    assert again.exit_code == 2
    assert "exists already" in again.output
    assert (tmp_path / "run.yaml").read_text() == "mine"
    assert call("init", "--force").exit_code == 0
    assert call("init", tmp_path / "run.yaml" / "x.yaml").exit_code == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "optimiser.learning_rat=0.1",
            "unknown key optimiser.learning_rat (did you mean 'learning_rate'?",
        ),
        ("zzz.trees=3", "unknown key zzz (valid: task, input, clustering, loss"),
        ("optimizer.trees=3", "unknown key optimizer (did you mean 'optimiser'?"),
        ("optimiser.iterations=many", "optimiser.iterations: "),
        ("radius.start=3", "radius: expected minimum <= start <= maximum, found 0.1, 3.0, 2.0"),
        ("input.pt_min=.nan", "input.pt_min: "),
        ("loss.observable=dijet_mas", "unknown name 'dijet_mas' (did you mean 'dijet_mass'?"),
        ("loss.observable={name: n_jet_mass, m: 2}", "n_jet_mass has no parameter 'm'"),
        ("input.files=[]", "input: expected one of files and fileset"),
        ("scan.radii=[1, 2", "not valid YAML"),
        ("optimiser", "expected section.key=value"),
        ("seed.of=1", "seed is not a section"),
        ("output.store=", "output.store: "),
    ],
)
def test_a_wrong_setting_ends_with_2_and_names_it(
    call: Call, config: Path, change: str, message: str
) -> None:
    data = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump({**data, "seed": 1}))
    ended = call("run", config, "--set", change)
    assert ended.exit_code == 2, ended.output
    assert ended.output.startswith("djservice: ConfigError: ")
    assert message in ended.output
    assert ended.output.count(", found ") <= 1
    assert len(ended.output.strip().splitlines()) == 1 or "YAML" in message


def test_a_wrong_file_or_option_ends_with_2(call: Call, tmp_path: Path) -> None:
    ended = call("run", "gone.yaml")
    assert (ended.exit_code, "djservice init" in ended.output) == (2, True)
    (tmp_path / "bad.yaml").write_text("a: [1")
    assert call("run", "bad.yaml").exit_code == 2
    (tmp_path / "list.yaml").write_text("- 1")
    assert "expected a mapping" in call("run", "list.yaml").output
    assert call("run", "list.yaml", "--worker", "2").exit_code == 2
    assert call("run", "list.yaml", "--workers", "0").exit_code == 2
    assert call("nothing").exit_code == 2
    for command in ("show", "report"):
        ended = call(command, "gone.zarr")
        assert (ended.exit_code, "there is no store here" in ended.output) == (1, True)


def test_a_run_from_start_to_report(call: Call, config: Path, tmp_path: Path) -> None:
    ended = call("run", config, "--set", "optimiser.iterations=4", "--set", "radius.start=0.8")
    assert ended.exit_code == 0, ended.output
    assert Store.read(tmp_path / "tiny.zarr").attributes["run"]["optimiser"]["iterations"] == 4
    last = ended.stdout.splitlines()
    assert re.fullmatch(
        r"R: 0\.8 -> \d\.\d{3} \+- (\d+\.\d{3}|not determined)( \(no optimum\))?   "
        r"after 4 iterations; Newton steps: \d+",
        last[1],
    )
    assert "dijet mass [GeV] over accepted trees:" in ended.stdout
    assert last[-2] == f"store:  {tmp_path / 'tiny.zarr'}"
    assert last[-1] == f"report: {tmp_path / 'tiny.html'}"
    assert all(ord(letter) >= 32 for line in ended.output.splitlines() for letter in line), (
        "a log holds plain lines"
    )
    assert "optimise 4/4  loss" in ended.stderr
    again = call(
        "run", config, "--set", "optimiser.iterations=4", "--set", "radius.start=0.8", "--no-report"
    )
    assert "optimise: 4 of 4 done already" in again.stderr
    other = call("run", config, "--set", "seed=5", "--set", "radius.start=0.8")
    assert (other.exit_code, "seed is 1 there and 5 now" in other.stderr) == (1, True)


def test_show(call: Call, finished_run: Path) -> None:
    radius = Store.read(finished_run).attributes["result"]["radius"]
    assert f"R: 1 -> {radius:.3f}" in call("show", finished_run).output
    facts = json.loads(call("show", finished_run, "--json").stdout, parse_constant=pytest.fail)
    assert facts["result"]["radius"] == radius
    assert facts["status"] == "finished"
    assert facts["iterations"] == 6
    assert [row["label"] for row in facts["spectrum"]] == ["start", "end", ""]
    assert facts["run"]["optimiser"]["trees"] == 4


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("{dj} show {store} --json > /dev/full", "the output cannot be written: No space left"),
        ("mkdir gone && cd gone && rmdir ../gone && {dj} show ../x.zarr", "directory was removed"),
        ("{dj} check " + "x" * 300, "File name too long"),
    ],
)
def test_bad_surroundings_end_in_one_line(
    command: str, message: str, finished_run: Path, tmp_path: Path
) -> None:
    dj = f"{sys.executable} -c 'from djservice.cli import main; main()'"
    done = subprocess.run(
        ["bash", "-c", command.format(dj=dj, store=finished_run)],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1 and done.stderr.startswith("djservice: ") and message in done.stderr
    assert "Traceback" not in done.stderr


def test_show_of_an_unfinished_run(call: Call, tmp_path: Path) -> None:
    name = tmp_path / "[half] a.zarr"
    attributes = {
        "run": Run.from_dict(
            {"input": {"files": "a"}, "loss": {}, "output": {"store": "a"}}
        ).to_dict()
    }
    with Store.open(
        name, attributes, {}, StoreColumns(5, [0.4], 2, np.array([1], np.uint64), np.ones(1))
    ) as store:
        store.set(status="interrupted", message="stopped by a signal", result=None)
        store.write_rows("history", 0, {"radius": [1.0, 0.9]})
        written = time.time()
    text = call("show", name).output
    assert "status: interrupted; 2 iterations done. stopped by a signal" in text
    assert "[half] a.zarr" in text
    assert json.loads(call("show", name, "--json").stdout)["result"] is None
    with Store.open(
        name, attributes, {}, StoreColumns(5, [0.4], 2, np.array([1], np.uint64), np.ones(1))
    ) as store:
        store.set(status="running", message="")  # and was killed
    facts = json.loads(call("show", name, "--json").stdout)
    assert written - 1 < facts["written"] < time.time() + 1
    text = call("show", name).output
    assert re.search(
        r"status: running; 2 .*\nlast written at \d{4}-.*; if its process has ended, the same command \(without --overwrite\)",
        text,
    )


def test_a_terminal_shows_bars_that_fit(config: Path, tmp_path: Path) -> None:
    """Under a pseudo-terminal of 80 columns, where nothing may wrap and the last lines are the result."""
    driver, terminal = pty.openpty()
    environment = {**os.environ, "COLUMNS": "80", "LINES": "30", "TERM": "xterm-256color"}
    process = subprocess.Popen(
        [SCRIPTS / "djservice", "run", config, "--no-report"],
        stdout=terminal,
        stderr=terminal,
        stdin=terminal,
        env=environment,
    )
    os.close(terminal)
    shown = b""
    while True:
        try:
            block = os.read(driver, 4096)
        except OSError:  # the last process let go of it
            break
        shown += block
    os.close(driver)
    assert process.wait(timeout=300) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    for phase, total in (("optimise", 6), ("scan    ", 4), ("spectrum", 3)):
        assert re.search(rf"{phase} ━+ +{total}/{total}  loss \d", text), phase
    frames = [line for line in re.split(r"[\r\n]+", text) if "━" in line]
    assert max(len(line.rstrip()) for line in frames) <= 80
    assert "…" not in text
    assert text.rstrip().splitlines()[-1] == f"store:  {tmp_path / 'tiny.zarr'}"


@pytest.mark.parametrize(
    "arguments", [["{}"], ["run", "--{}"], ["run", "a.yaml", "--workers", "{}"], ["run", "{}"]]
)
def test_no_control_character_of_an_argument_reaches_the_terminal(
    call: Call, arguments: list[str]
) -> None:
    done = call(*(argument.format("x\x1b[31m\u202ey") for argument in arguments))
    assert done.exit_code == 2
    assert r"x\x1b[31m\u202ey" in done.output
    assert "\x1b" not in done.output


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ("--batch-events=8", "--set optimiser.batch_events or radius_model.batch_events or"),
        ("--pt-min", "--set input.pt_min=VALUE"),
        ("--seed", "--set seed=VALUE"),
    ],
)
def test_an_option_that_is_a_key_of_the_run_is_hinted_at(
    call: Call, option: str, hint: str
) -> None:
    done = call("run", "a.yaml", option, "3")
    assert done.exit_code == 2 and hint in done.output
    assert "--set" not in call("show", "a.zarr", option, "3").output
    assert "Set a key" not in call("run", "a.yaml", "--nonsense", "3").output


@pytest.mark.filterwarnings("default")
def test_warnings_are_lines() -> None:
    group = Commands("tool")

    @group.command()
    def doubt() -> None:
        warnings.warn("odd\x1b[31m\nvalues", InputWarning, stacklevel=1)

    done = CliRunner().invoke(group, ["doubt"])
    assert (done.exit_code, done.stderr) == (0, "djservice: warning: odd\\x1b[31m values\n")
