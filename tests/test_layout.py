"""Folders against packages: where a module and its tests are follows from the package, and the documents name all of them."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

import djservice
from djservice.core.provenance import NO_NUMBERS, READING, code_hash, numeric_packages

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "djservice"
PACKAGES = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}

#: Test folders that cut across the packages: GPUs, clusters of others, documents, whole processes that are killed.
ACROSS = {"deploy", "docs", "gpu", "survival"}


def test_every_test_folder_has_a_package_of_its_name() -> None:
    folders = {
        path.parent.relative_to(ROOT / "tests").as_posix()
        for path in (ROOT / "tests").rglob("test_*.py")
    }
    known = {path.parent.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("__init__.py")}
    assert folders - ACROSS <= known
    assert not ACROSS & known


def test_modules_are_in_packages() -> None:
    assert {path.name for path in PACKAGE.glob("*.py")} == {
        "__init__.py",
        "errors.py",
        "preload.py",
    }
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


def test_the_map_of_the_package_names_every_package() -> None:
    named = re.findall(r"^    (\w+)  +\S", djservice.__doc__ or "", flags=re.MULTILINE)
    assert sorted(named) == sorted(PACKAGES | {"errors", "preload"})


def test_no_package_has_the_name_of_a_public_one() -> None:
    """Importing the package would put it in the place of the name; shapes are public as a package."""
    for name in PACKAGES & set(djservice.__all__):
        assert getattr(djservice, name) is import_module(f"djservice.{name}")


def test_the_rule_of_imports_has_a_floor_for_every_package() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
        "contracts"
    ]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    assert {name for layer in layers for name in layer.split(" | ")} == PACKAGES | {
        "errors",
        "preload",
    }


#: Packages whose numbers go into stores, but for networks, which are PyTorch's.
OF_STORES = (
    *("clustering", "estimators", "evaluation", "events", "fit", "objectives", "radius_models"),
    *("lund_planes", "shapes", "weight_models", "store", "on_dask", "runs"),
)
#: Files where a BLAS or LAPACK may compute: a yes or no, and what is computed once, into a file.
WITH_BLAS = {"fit/curvature.py", "lund_planes/ratio_table.py", "radius_models/torch_model.py"}


def test_no_sum_of_a_store_depends_on_the_kernels_of_a_blas() -> None:
    """They differ between processors; `djservice.core.inner` and einsum do not."""
    package = Path(djservice.__file__).parent
    for path in (path for name in OF_STORES for path in (package / name).rglob("*.py")):
        if path.relative_to(package).as_posix() in WITH_BLAS:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            product = isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult)
            named = isinstance(node, ast.Attribute) and node.attr in {"dot", "linalg", "matmul"}
            assert not product and not named, f"{path}:{node.lineno}"


def test_the_drawing_of_the_imports_is_that_of_the_code() -> None:
    command = [sys.executable, ROOT / "docs/import_diagram.py"]
    drawn = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert drawn == (ROOT / "docs/images/imports.svg").read_text(), (
        "python docs/import_diagram.py > docs/images/imports.svg"
    )
    assert ", 0 circles" in drawn


def test_every_package_says_what_it_is_for() -> None:
    for name in PACKAGES:
        first = ast.get_docstring(ast.parse((PACKAGE / name / "__init__.py").read_text())) or ""
        assert len(first.split("\n")[0]) > 10, name


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package, to be changed."""
    shutil.copytree(
        PACKAGE, tmp_path / "djservice", ignore=shutil.ignore_patterns("__pycache__", "*.root")
    )
    return tmp_path / "djservice"


def test_a_store_is_not_continued_after_a_change_of_what_its_numbers_come_from(copy: Path) -> None:
    before = code_hash(package=copy)
    assert before == code_hash()
    numeric = set(numeric_packages(copy))
    assert numeric == PACKAGES - set(NO_NUMBERS)
    changed = 0
    for path in sorted(copy.rglob("*.py")):
        source = path.read_bytes()
        path.write_bytes(source + b"\n")
        counts = path.relative_to(copy).parts[0] in numeric
        assert (code_hash(package=copy) != before) == counts, path
        path.write_bytes(source)
        changed += counts
    assert changed > 100
    assert code_hash(package=copy) == before


def test_a_file_or_package_that_comes_goes_or_changes_its_name_counts_too(copy: Path) -> None:
    seen = {code_hash(package=copy)}
    (copy / "fit/descent.py").rename(copy / "fit/walk.py")
    seen.add(code_hash(package=copy))
    (copy / "clustering/kernels/lanes/wider.py").touch()
    seen.add(code_hash(package=copy))
    (copy / "statistics").mkdir()
    (copy / "statistics/__init__.py").touch()
    seen.add(code_hash(package=copy))
    (copy / "objectives/cuts.py").unlink()
    seen.add(code_hash(package=copy))
    assert len(seen) == 5


def test_a_cache_of_events_is_kept_until_reading_changes(copy: Path) -> None:
    before = code_hash(READING, copy)
    (copy / "fit/descent.py").write_text("")
    assert code_hash(READING, copy) == before
    (copy / "input/quarantine.py").write_text("")
    assert code_hash(READING, copy) != before


@pytest.mark.parametrize(
    "name", ["clustering/tree_job.py", "fit/build.py", "clustering/trees.py", "input/quarantine.py"]
)
def test_modules_that_a_number_depends_on_are_where_they_count(name: str) -> None:
    assert (PACKAGE / name).exists()
    assert name.split("/")[0] in numeric_packages()


def test_the_particles_of_an_event_can_be_numbered_by_the_kernels() -> None:
    import numpy as np

    from djservice.clustering.kernels import candidates
    from djservice.events.checks import MOST_PARTICLES

    assert np.iinfo(np.uint16).max + 1 >= 2 * MOST_PARTICLES, candidates.__doc__
