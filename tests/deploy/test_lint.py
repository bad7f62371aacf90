"""Scripts and the images' recipes are linted; the entry point is tried, and what the images' building runs."""

import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

DEPLOY = Path(__file__).parents[2] / "deploy"
PROGRAMS = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.gpu", "Dockerfile.workflow"])
def test_lint(name: str, requires: Callable[[str, object], None]) -> None:
    program = shutil.which("hadolint", path=PROGRAMS)
    requires("hadolint", program)
    done = subprocess.run(
        [str(program), "--failure-threshold", "style", DEPLOY / name],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def test_scripts(requires: Callable[[str, object], None]) -> None:
    program = shutil.which("shellcheck", path=PROGRAMS)
    requires("shellcheck", program)
    scripts = [
        *DEPLOY.rglob("*.sh"),
        *DEPLOY.rglob("*.sbatch"),
        *(DEPLOY.parent / "workflows").glob("*.sh"),
    ]
    assert len(scripts) >= 5
    done = subprocess.run([str(program), *scripts], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_what_is_copied_is_let_in_and_there() -> None:
    ignored = (DEPLOY.parent / ".dockerignore").read_text().split()
    for name in ("Dockerfile", "Dockerfile.gpu", "Dockerfile.workflow"):
        for line in re.findall(
            r"^COPY (?!--from)(.*)$", (DEPLOY / name).read_text(), flags=re.MULTILINE
        ):
            for source in line.split()[:-1]:
                assert (DEPLOY.parent / source).exists() and f"!{source}" in ignored, source


def test_versions_are_those_of_a_whole_environment() -> None:
    project = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [
        *project["dependencies"],
        *(each for extra in ("dashboard", "report", "s3", "xrootd") for each in extras[extra]),
    ]
    text = (DEPLOY / "requirements.txt").read_text()
    pinned = {
        name: pin
        for name, pin in re.findall(r"^([\w.-]+)==([^ ;]+)", text, flags=re.MULTILINE)
        if f"{name}=={pin} \\\n    --hash=sha256:" in re.sub(r" ; .* \\", r" \\", text)
    }
    for line in asked:
        requirement = Requirement(line)
        assert pinned[requirement.name] in requirement.specifier, f"{line}: make lock"
    # none that nobody installs; that of Python 3.11 is not asked for by newer ones
    assert all(version(name) for name in pinned if f"{name}=={pinned[name]} ;" not in text)


def test_what_compiles_the_kernels_of_the_image() -> None:
    runpy.run_path(str(DEPLOY / "compile_kernels.py"))


def test_kernels_of_the_image_can_be_copied_by_its_user(tmp_path: Path) -> None:
    """Locks of compilation cannot."""
    for name in ("one.nbi", "one.nbc", "one.nbi.lock"):
        (tmp_path / name).touch()
    recipe = (DEPLOY / "Dockerfile").read_text()
    (cleaning,) = re.findall(r"compile_kernels\.py && (find /opt/numba .*)", recipe)
    subprocess.run(cleaning.replace("/opt/numba", str(tmp_path)), shell=True, check=True)
    assert {path.name for path in tmp_path.iterdir()} == {"one.nbi", "one.nbc"}


@pytest.mark.parametrize(
    "engine, base, recipe, message",
    [
        (
            "exit 1",
            "",
            "Dockerfile",
            "works (podman: refused; docker: refused; buildah: refused). Install podman",
        ),
        (
            '[ "$1" = info ] || { exit 1; }',
            "none/such:1",
            "Dockerfile",
            "none/such:1: refused. Name another with BASE=..., or make one without a registry: make base-image",
        ),
        (
            '[ "$1" = info ] || { exit 1; }',
            "djservice:1",
            "Dockerfile.gpu",
            "cannot pull the base djservice:1: refused. Name another with BASE=..., or make it first: make image",
        ),
    ],
)
def test_what_is_missing_for_an_image_is_one_line(
    engine: str, base: str, recipe: str, message: str, tmp_path: Path
) -> None:
    for name in ("podman", "docker", "buildah"):
        (tmp_path / name).write_text(
            f"#!/bin/sh\n{engine.replace('exit 1', 'echo refused >&2; exit 1')}\n"
        )
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        [DEPLOY / "build.sh", "image:1", recipe, "."],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "BASE": base},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and message in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize(
    "command, environment, message",
    [
        ("--state-directory {}/no/state", {}, "cannot write {}/no. Mount a volume there"),
        ("--state-directory={}/no/state", {}, "cannot write {}/no. Mount a volume there"),
        ("", {"TMPDIR": "{}/no", "NUMBA_CACHE_DIR": ""}, "cannot write {}/no. Mount a volume or"),
        ("", {"DJSERVICE_CHART_VERSION": "7.0"}, "the chart is for 7.0. Set image.tag"),
    ],
)
def test_what_a_container_lacks_is_one_line(
    command: str, environment: dict[str, str], message: str, tmp_path: Path
) -> None:
    variables = {"DJSERVICE_DATA": "{}/no", "WARM_NUMBA_CACHE": "{}/warm"} | environment
    done = subprocess.run(
        [DEPLOY / "entrypoint.sh", "echo", *command.format(tmp_path).split()],
        env=os.environ
        | {"NUMBA_CACHE_DIR": str(tmp_path), "PATH": PROGRAMS}
        | {name: text.format(tmp_path) for name, text in variables.items()},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and not done.stdout
    assert message.format(tmp_path) in done.stderr, done.stderr


def test_the_entry_point_brings_the_compiled_kernels(tmp_path: Path) -> None:
    (tmp_path / "warm/sub").mkdir(parents=True)
    (tmp_path / "warm/sub/kernel.nbc").write_text("compiled")
    places = {
        "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
        "WARM_NUMBA_CACHE": str(tmp_path / "warm"),
    }
    for command in (["sh", "-c", 'cat "$NUMBA_CACHE_DIR/sub/kernel.nbc"'], ["sh", "-c", "exit 7"]):
        done = subprocess.run(
            [DEPLOY / "entrypoint.sh", *command],
            env=os.environ | places,
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stdout) in ((0, "compiled"), (7, ""))
