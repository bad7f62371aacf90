"""Observables that are functions in a user's file: read, known by the file's content, and never sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest

import djservice as dj
from djservice.errors import ConfigError, InputError, StoreError
from djservice.fit.plan import RunPlan
from djservice.service.submission import pack, unpack

FILE = """
import numpy as np
import djservice as dj

SCALE = 1.0

def sum_pt(jets):
    return SCALE * np.nansum(jets.pt[..., :2], axis=-1)

@dj.observable(units="GeV", jets=1)
def first(jets):
    return jets.pt[..., 0]

NUMBER = 3
"""


@pytest.fixture
def run_of(tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``run_of(text, name)``: a run of the function ``name`` of a file with a text."""
    monkeypatch.chdir(tmp_path)

    def settings(text: str, observable: Any = "my_file.py:sum_pt") -> dj.Run:
        (tmp_path / "my_file.py").write_text(text)
        term = {"observable": observable, "target": 150.0, "scale": 150.0}
        return dj.Run.from_dict(tiny | {"loss": term})

    return settings


def test_a_function_of_a_file_is_an_observable_that_travels(run_of: Any) -> None:
    plan = RunPlan(run_of(FILE))
    events = dj.read("example:ZHllbb_200", schema=dj.schemas.nanoaod(pt_min=5.0), entries=(0, 5))
    jets = dj.cluster(events, radius=0.7, rigidity=1.0).jets
    values = cloudpickle.loads(cloudpickle.dumps(plan.observable))(jets)
    np.testing.assert_allclose(values, np.nansum(jets.pt, axis=-1))
    first = RunPlan(run_of(FILE, "my_file.py:first")).observable
    assert (first.name, first.units, first.jets) == ("first", "GeV", 1)


def test_a_store_knows_the_whole_file_and_not_its_folder(run_of: Any, tmp_path: Path) -> None:
    plan = RunPlan(run_of(FILE))
    ((key, hashes),) = plan.observable_files.items()
    assert key == "loss[0].observable.files" and hashes[0].startswith("my_file.py:sum_pt#")
    changed = RunPlan(run_of(FILE.replace("SCALE = 1.0", "SCALE = 2.0")))
    assert changed.observable_files != plan.observable_files
    elsewhere = run_of(FILE, f"{tmp_path}/my_file.py:sum_pt")
    assert elsewhere.numbers == plan.run.numbers
    assert RunPlan(elsewhere).observable_files == plan.observable_files


HELPERS = {
    "helper.py": "from package.deep import NUMBER\n",
    "package/__init__.py": "",
    "package/deep.py": "from .base import NUMBER\n",
    "package/base.py": "NUMBER = 1\n",
    "unused.py": "NUMBER = 1\n",
}


def test_a_store_knows_what_the_file_imports_from_its_folder(run_of: Any, tmp_path: Path) -> None:
    """Also within functions, by other modules, relatively and of packages; and nothing else."""
    for name, text in HELPERS.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    text = FILE.replace("    return SCALE", "    import helper\n    return helper.NUMBER * SCALE")
    before = RunPlan(run_of(text)).observable_files
    for name in HELPERS:
        (tmp_path / name).write_text(HELPERS[name] + "OTHER = 2\n")
        after = RunPlan(run_of(text)).observable_files
        assert (after == before) == (name == "unused.py"), name
        before = after
    (tmp_path / "helper.py").write_text("def f(:")
    with pytest.raises(ConfigError, match=r"my_file\.py: what it imports cannot be read: "):
        RunPlan(run_of(text)).check()


def test_a_changed_function_does_not_continue_a_store(run_of: Any, scheduler: str) -> None:
    def start(text: str) -> None:
        data = run_of(text).to_dict() | {"cluster": {"scheduler": scheduler}}
        data["optimiser"]["iterations"] = 2
        dj.run(dj.Run.from_dict(data))

    start(FILE)
    with pytest.raises(StoreError, match=r"observable\.files"):
        start(FILE.replace("SCALE = 1.0", "SCALE = 2.0"))


@pytest.mark.parametrize("name", ["my_file.py:sum_pt", "/anywhere/x.py:f"])
def test_a_submission_with_a_file_is_refused_on_both_sides(run_of: Any, name: str) -> None:
    run = run_of("raise SystemExit", name)
    for refused in (lambda: pack(run), lambda: unpack(run.to_dict())):
        with pytest.raises(ConfigError, match=r"only a local run reads .*entry point"):
            refused()


@pytest.mark.parametrize(
    ("text", "observable", "message"),
    [
        (FILE, "my_file.py:none", "there is no function 'none', expected one of first, sum_pt"),
        (FILE, "my_file.py:NUMBER", "there is no function 'NUMBER'"),
        (FILE, "other.py:f", r"other.py: cannot be read \(No such file"),
        (FILE, {"name": "my_file.py:sum_pt", "n": 3}, "takes no parameters, found n"),
        ("x = 1\n1 / 0\n", "my_file.py:f", r"my_file.py, line 2: ZeroDivisionError: division by"),
        ("def f(:\n", "my_file.py:f", "my_file.py, line 1: SyntaxError"),
        ("import nowhere_at_all\n", "my_file.py:f", "line 1: ModuleNotFoundError: No module"),
        ("import sys\nsys.exit(3)\n", "my_file.py:f", "line 2: SystemExit: 3"),
        ("x\0", "my_file.py:f", r"my_file.py: SyntaxError"),
    ],
)
def test_a_file_that_does_not_work_is_said_with_its_line(
    run_of: Any, text: str, observable: Any, message: str
) -> None:
    with pytest.raises(ConfigError, match=r"^loss\[0\].observable: .*" + message):
        _ = RunPlan(run_of(text, observable)).loss


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "return 1 / 0",
            "observable 'f', line 2 of my_file.py: ZeroDivisionError: division by zero",
        ),
        ("raise KeyError('x')", "line 2 of my_file.py: KeyError: 'x'"),
        ("return jets.nothing", "line 2 of my_file.py: AttributeError"),
        ("import sys; sys.exit(1)", "line 2 of my_file.py: SystemExit: 1"),
        ("return 'text'", "expected"),
        ("return jets.pt", "returned shape"),
    ],
)
def test_a_function_that_fails_is_said_with_its_line(run_of: Any, body: str, message: str) -> None:
    """Also that of a worker: an exit there would end the worker, and the run would try again."""
    observable = RunPlan(run_of(f"def f(jets):\n    {body}\n", "my_file.py:f")).observable
    events = dj.read("example:ZHllbb_200", schema=dj.schemas.nanoaod(pt_min=5.0), entries=(0, 2))
    jets = dj.cluster(events, radius=0.7, rigidity=1.0).jets
    with pytest.raises(InputError, match=message):
        cloudpickle.loads(cloudpickle.dumps(observable))(jets)
