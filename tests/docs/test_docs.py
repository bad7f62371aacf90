"""What the documentation shows runs as it stands."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import click
import pytest
import yaml
from distributed import Client, LocalCluster

import djservice as dj
from djservice.cli import main
from djservice.config.input import Input
from djservice.config.sections import OptimiserSection
from djservice.input.schemas import schema_of
from djservice.objectives.particle_variables import DEFAULTS, VARIABLES
from djservice.service.client import Service
from djservice.service.plugin import RunService

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "docs/notebooks").glob("*.ipynb"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


#: What a block needs -> the package of the extra that the test extra leaves out.
EXTRAS = {
    "import djservice.torch": "torch",
    "dj.calibrate(": "torch",
    "import djservice.jax": "jax",
}


def blocks() -> list:
    """The Python blocks of every page, each with those before it where the page is one program."""
    found = []
    for page in PAGES:
        texts = re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)
        for number, text in enumerate(texts):
            before = texts[:number] if page.name == "objectives.md" else []
            found.append(pytest.param([*before, text], id=f"{page.name}-{number}"))
    return found


@pytest.fixture(scope="module")
def finished(scheduler: str, tmp_path_factory: pytest.TempPathFactory) -> dj.Run:
    """The main job with few events and trees, done, its store in a folder of its own."""
    small = ["input.entries=[0, 40]", "optimiser.batch_events=20", "optimiser.iterations=4"]
    few = [
        "optimiser.trees=4",
        "scan.trees=4",
        "spectrum.trees=4",
        f"cluster.scheduler={scheduler}",
    ]
    store = tmp_path_factory.mktemp("docs") / "zh_global_radius.zarr"
    run = dj.Run.from_yaml(
        ROOT / "workflows/zh_global_radius.yaml", [*small, *few, f"output.store={store}"]
    )
    dj.run(run)
    return run


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A scheduler that takes runs, with a worker."""
    own = {"dashboard_address": None, "scheduler_kwargs": {"dashboard_address": "127.0.0.1:0"}}
    with LocalCluster(
        n_workers=1, processes=False, protocol="tcp", host="127.0.0.1", **own
    ) as cluster:
        with Client(cluster.scheduler_address, set_as_default=False) as client:
            client.register_plugin(RunService(tmp_path_factory.mktemp("state")))
        yield dj.connect(cluster.scheduler_address)


@pytest.mark.parametrize("texts", blocks())
def test_python_blocks_run(
    texts: list[str],
    finished: dj.Run,
    service: Service,
    requires: Callable[[str, object], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for line, name in EXTRAS.items():
        if line in texts[-1]:
            requires(f"{name} (pip install 'djservice[{name}]')", find_spec(name))
    monkeypatch.setattr(dj, "connect", lambda address: service)
    monkeypatch.chdir(Path(finished.output.store).parent)
    monkeypatch.setattr(
        dj.Run, "from_yaml", lambda path: finished
    )  # the same run whatever page asks for it
    names = {"__name__": "__main__"}
    for text in texts:
        exec(compile(text, "page", "exec"), names)


@pytest.mark.parametrize("page", NOTEBOOKS, ids=lambda page: page.stem)
def test_the_cells_of_notebooks_run(
    page: Path, scheduler: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In this process; the site executes them in Jupyter's."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    names = {"__name__": "__main__"}
    for cell in json.loads(page.read_text())["cells"]:
        if cell["cell_type"] == "code":
            text = "".join(cell["source"]).replace('"workers": 1', f'"scheduler": "{scheduler}"')
            exec(compile(text, page.name, "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def sections() -> list:
    """Every input section of the pages: blocks of YAML, and cells of tables."""
    found = []
    for page in PAGES:
        text = page.read_text()
        blocks = re.findall(r"(?:^    \S.*\n(?:^    .*\n|^\n(?=    ))*)", text, flags=re.MULTILINE)
        cells = re.findall(r"`(input: \{.*\})`", text)
        texts = [
            textwrap.dedent(block) for block in blocks if block.startswith("    input:")
        ] + cells
        found += [pytest.param(one, id=f"{page.name}-{i}") for i, one in enumerate(texts)]
    return found


@pytest.mark.parametrize("text", sections())
def test_input_sections_that_are_shown_are_valid(text: str) -> None:
    section = {"files": "a.root", **yaml.safe_load(text)["input"]}
    assert schema_of(Input.model_validate(section)).particles


def commands() -> list:
    """Every command line of djservice in the pages: in indented lines and in blocks that are no Python."""
    found = []
    for page in PAGES:
        text = re.sub(r"```python\n.*?```", "", page.read_text(), flags=re.DOTALL).replace(
            "\\\n", " "
        )
        for line in re.findall(
            r"^(?:    |\t|\$ )(?:srun |\.venv/bin/|dask )?djservice (\w.*)$",
            text,
            flags=re.MULTILINE,
        ):
            found.append(
                pytest.param(line.split(" | ")[0].split("  #")[0], id=f"{page.name}: {line[:40]}")
            )
    return found


@pytest.mark.parametrize("line", commands())
def test_the_command_line_knows_every_command_that_is_shown(
    line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Names, options and the types of their values; what they do is tested where it is made."""
    monkeypatch.setenv("DJSERVICE_SCHEDULER", "tcp://127.0.0.1:8786")
    monkeypatch.chdir(tmp_path)
    for certificate in re.findall(r"\S+\.(?:pem|key)", line):
        Path(certificate).parent.mkdir(exist_ok=True)
        Path(certificate).touch()
    parent = click.Context(main, info_name="djservice")
    name, command, arguments = main.resolve_command(parent, shlex.split(line))
    assert command is not None
    command.make_context(name, arguments, parent=parent)


#: Other command lines that pages show, by how they begin -> the test that runs it, or None: never run, and the page says so.
SHOWN = {
    "sbatch --cpus-per-task": "tests/deploy/test_slurm.py",
    "sbatch --gpus-per-node": None,
    "python deploy/slurm/jobqueue.py": "tests/deploy/test_slurm.py",
    "cp deploy/htcondor/*": None,
    "helm install": None,
    "snakemake --snakefile workflows/Snakefile": "tests/deploy/test_workflows.py",
    "dask scheduler --host 127.0.0.1 --port 8786": "tests/service/processes.py",
    "dask scheduler --host tls://127.0.0.1": "tests/service/processes.py",
    "dask worker": "tests/service/processes.py",
    "dask cuda worker": None,
    "python benchmarks/gpu.py --simulate": "tests/gpu/test_benchmark.py",
    "python benchmarks/gpu.py ": None,
    "python benchmarks/gpu_variants.py": "tests/gpu/test_benchmark.py",
    "python benchmarks/warps.py": "tests/gpu/test_compiled.py",
    "python workflows/zh_study.py": "tests/docs/test_study.py",
    "python workflows/zh_pileup.py": "tests/docs/test_pileup.py",
    "python workflows/quark_gluon.py": "tests/networks/test_studies.py",
    "python workflows/calibration.py": "tests/networks/test_studies.py",
    "python workflows/joint_dipoles.py": "tests/fit/test_joint_scripts.py",
    "python workflows/joint_w_qcd.py": "tests/fit/test_joint_scripts.py",
    "workflows/make_ca.sh": "tests/deploy/test_dask_configuration.py",
    "podman run": "tests/deploy/test_container_steps.py",
    "podman network": "tests/deploy/test_container_steps.py",
    "podman exec": "tests/deploy/test_compose.py",
    "S3_SECRET=": "tests/deploy/test_compose.py",
    "curl -s": "tests/service/web/test_pages.py",
}


def test_every_other_command_is_run_by_a_test_or_said_to_be_never_run() -> None:
    tools = r"^    ((?:sbatch|python|helm|docker|podman|S3_SECRET|snakemake|dask|curl|cp|workflows/|deploy/|reana-client|argo|kubectl|srun|scontrol)\b.*)$"
    used = set()
    for page in PAGES:
        text = re.sub(r"```python\n.*?```", "", page.read_text(), flags=re.DOTALL)
        for line in re.findall(tools, text, flags=re.MULTILINE):
            known = [start for start in SHOWN if line.startswith(start)]
            assert known, f"{page.name} shows {line!r}: which test runs it?"
            test = SHOWN[max(known, key=len)]
            used.add(max(known, key=len))
            if test is None:
                assert re.search(
                    r"\b(never|not) (been )?(run|built|installed|submitted)|None of this has run",
                    text,
                    re.I,
                )
            else:
                assert (ROOT / test).exists()
    assert used == set(SHOWN)


@pytest.mark.parametrize("execute", ["false", pytest.param("true", marks=pytest.mark.long)])
def test_the_site_is_built_without_a_broken_link(execute: str, tmp_path: Path) -> None:
    """Its reference pages are made of the code; every page is in the navigation."""
    building = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    environment = os.environ | {"EXECUTE_NOTEBOOKS": execute}
    done = subprocess.run(
        building, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    configuration = (tmp_path / "reference/configuration.html").read_text()
    for key in OptimiserSection.model_fields:
        assert f"<code>{key}</code>" in configuration
    assert "submit" in (tmp_path / "reference/commands.html").read_text()
    api = (tmp_path / "reference/api.html").read_text()
    for name in dj.__all__:
        assert f'id="{name.lower()}"' in api, name


def test_the_reference_in_the_repository_is_current() -> None:
    """`make reference` writes it; a forge shows it."""
    place = ROOT / "docs/reference/generate.py"
    spec = spec_from_file_location("generate", place)
    assert spec is not None and spec.loader is not None
    generate = module_from_spec(spec)
    spec.loader.exec_module(generate)
    for command in main.commands.values():  # Click keeps the help option of another test's context
        command._help_option = None
    for page in generate.PAGES:
        text = page.read_text()
        assert generate.filled(text, generate.MAKERS) == text, f"{page.name}: run `make reference`"
        assert len(re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)) > 1500, page.name


def test_make_commands_exist() -> None:
    lines = re.findall(r"^([a-z -]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    targets = set(" ".join(lines).split())
    for page in [*PAGES, ROOT / "CONTRIBUTING.md"]:
        assert (
            set(re.findall(r"^    make ([a-z-]+)", page.read_text(), flags=re.MULTILINE)) <= targets
        )


@pytest.mark.parametrize("page", ["README.md", "docs/install.md"])
def test_all_extras_for_users_are_in_the_tables(page: str) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = extras["optional-dependencies"]
    assert "djservice[report]" in extras["docs"]  # the notebooks draw when the pages are built
    table = re.findall(r"^\| extra \| for \|\n((?:\|.*\n)+)", (ROOT / page).read_text(), re.M)
    named = set(re.findall(r"^\| (`.+?) \|", table[0], re.M))
    assert {name for row in named for name in re.findall(r"`(\w+)`", row)} == {*extras} - {
        *("docs", "test", "fastjet", "pythia")
    }


def test_public_names_are_all_there() -> None:
    assert callable(dj.read)
    for name in dj.__all__:
        assert getattr(dj, name) is not None


def test_all_variables_of_taggers_and_their_columns_are_documented() -> None:
    page = (ROOT / "docs/reference/variables.md").read_text()
    for name in (*VARIABLES, *DEFAULTS):
        assert f"`{name}`" in page, name
