"""What the documentation shows runs as it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

import djservice as dj
from djservice.connect import Service
from djservice.service import RunService

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks() -> list:
    """Every Python block of every page."""
    found = []
    for page in PAGES:
        for number, text in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)):
            found.append(pytest.param(text, id=f"{page.name}-{number}"))
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> dj.Run:
    """The main job with few events and trees, done, its store in a folder of its own."""
    small = ["input.entries=[0, 40]", "optimiser.batch_events=20", "optimiser.iterations=4"]
    few = ["optimiser.trees=4", "scan.trees=4", "spectrum.trees=4", "cluster.workers=1"]
    store = tmp_path_factory.mktemp("docs") / "zh_global_radius.zarr"
    run = dj.Run.from_yaml(ROOT / "workflows/zh_global_radius.yaml", [*small, *few, f"output.store={store}"])
    dj.run(run)
    return run


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A scheduler that takes runs, with a worker."""
    own = {"dashboard_address": None, "scheduler_kwargs": {"dashboard_address": "127.0.0.1:0"}}
    with LocalCluster(n_workers=1, processes=False, protocol="tcp", host="127.0.0.1", **own) as cluster:
        with Client(cluster.scheduler_address, set_as_default=False) as client:
            client.register_plugin(RunService(tmp_path_factory.mktemp("state")))
        yield dj.connect(cluster.scheduler_address)


@pytest.mark.parametrize("text", blocks())
def test_python_blocks_run(text: str, finished: dj.Run, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dj, "connect", lambda address: service)
    monkeypatch.chdir(Path(finished.output.store).parent)
    monkeypatch.setattr(dj.Run, "from_yaml", lambda path: finished)  # the same run whatever page asks for it
    exec(compile(text, "page", "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_make_commands_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for page in [*PAGES, ROOT / "CONTRIBUTING.md"]:
        assert set(re.findall(r"^    make ([a-z-]+)", page.read_text(), flags=re.MULTILINE)) <= targets


def test_public_names_are_all_there() -> None:
    import djservice.read  # a submodule of the same name must not hide the function

    assert callable(dj.read)
    assert callable(djservice.read)
    for name in dj.__all__:
        assert getattr(dj, name) is not None
