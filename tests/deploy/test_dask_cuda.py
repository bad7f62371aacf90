"""`dask cuda worker` as the chart, the batch job and the documents call it: it passes over an option that it does not know."""

import ast
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import tools
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def known(fetched: Callable[..., Path]) -> set[str]:
    """The options of the command."""
    functions = [
        node
        for node in ast.parse(fetched(tools.dask_cuda).read_text()).body
        if isinstance(node, ast.FunctionDef)
    ]
    decorators = next(node for node in functions if node.name == "worker").decorator_list
    texts = [
        node.value
        for each in decorators
        for node in ast.walk(each)
        if isinstance(node, ast.Constant)
    ]
    options = {
        part for text in texts if str(text).startswith("--") for part in str(text).split("/")
    }
    if "scheduler_file" in {
        each.id for each in decorators if isinstance(each, ast.Name)
    }:  # made beforehand
        options.add("--scheduler-file")
    assert {"--scheduler-file", "--nthreads", "--rmm-async", "--no-rmm-async"} < options
    return options


def options_of(command: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", command))


def test_the_version_is_that_of_the_image() -> None:
    image = (ROOT / "deploy/Dockerfile.gpu").read_text()
    for requirement in (
        "dask-cuda[cu12]==26.10.0",
        "cupy-cuda12x[ctk]==14.2.0",
        "numba-cuda[cu12]==0.30.4",
    ):
        assert requirement in image


def test_gpu_workers_of_the_chart(known: set[str], fetched: Callable[..., Path]) -> None:
    chart = ROOT / "helm/djservice"
    command = [
        fetched(tools.helm),
        "template",
        "physics",
        chart,
        "--values",
        chart / "ci/gpu-values.yaml",
    ]
    rendered = yaml.safe_load_all(
        subprocess.run(command, capture_output=True, text=True, check=True).stdout
    )
    (workers,) = (
        each for each in rendered if each and each["metadata"]["name"].endswith("-gpu-workers")
    )
    args = workers["spec"]["template"]["spec"]["containers"][0]["args"]
    assert args[:3] == ["dask", "cuda", "worker"] and "--resources=GPU=1" in args
    assert options_of(" ".join(args)) <= known


def test_gpu_workers_of_the_batch_job(known: set[str]) -> None:
    (given,) = re.findall(
        r'DJSERVICE_WORKER="(dask cuda worker[^"]*)"', (ROOT / "docs/deploy.md").read_text()
    )
    assert given.endswith("--resources GPU=1")
    script = (ROOT / "deploy/slurm/djservice.sbatch").read_text()
    added = script[script.index('"${worker[@]}"') : script.index("workers=$!")]
    assert "--scheduler-file" in added
    assert options_of(given + added) <= known


def test_gpu_workers_of_the_documents_and_messages(known: set[str]) -> None:
    files = [*(ROOT / "docs").rglob("*.md"), ROOT / "djservice/on_dask/gpu_workers.py"]
    calls = [
        call for file in files for call in re.findall(r"dask cuda worker[^`#\n]*", file.read_text())
    ]
    assert len(calls) >= 4
    for call in calls:
        assert options_of(call.partition("deploy/slurm")[0]) <= known, call
