"""Folders on a shared node: what another user made under a name that is known is not taken, for pickles in it run."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SBATCH = (DEPLOY / "slurm/djservice.sbatch").read_text()
PRIVATE = re.search(r"^private='$(.*?)^'$", SBATCH, flags=re.MULTILINE | re.DOTALL)


def other_user(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    os.chown(folder, 12345, 12345)


def link(folder: Path) -> None:
    (folder.parent / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to("elsewhere")


def chosen(tmp: Path, environment: dict[str, str]) -> list[str]:
    """The folder and the cache that a task of the job takes on a node."""
    assert PRIVATE is not None
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f'{PRIVATE[1]}echo "$node"; echo "$NUMBA_CACHE_DIR"'],
        env={"PATH": os.environ["PATH"], "TMPDIR": str(tmp)} | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def test_a_job_takes_its_folder_on_the_node_again(tmp_path: Path) -> None:
    first, cache = chosen(tmp_path, {})
    assert Path(first).stat().st_mode & 0o777 == 0o700 and cache == f"{first}/numba"
    assert chosen(tmp_path, {}) == [first, cache]
    assert chosen(tmp_path, {"NUMBA_CACHE_DIR": "/own"})[1] == "/own"


@pytest.mark.parametrize(
    "spoil", [other_user, link, lambda folder: (folder.mkdir(), folder.chmod(0o777))]
)
def test_a_folder_that_may_be_another_users_is_not_taken(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    expected = tmp_path / f"djservice-{os.getuid()}"
    try:
        spoil(expected)
    except PermissionError:
        pytest.skip("needs the right to give files away")
    folder, cache = chosen(tmp_path, {})
    assert Path(folder) != expected and Path(folder).parent == tmp_path
    assert Path(folder).stat().st_mode & 0o777 == 0o700 and cache == f"{folder}/numba"


def test_a_container_keeps_its_kernels_in_a_folder_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "warm").mkdir()
    (tmp_path / "warm/kernel.nbc").touch()
    environment = {key: value for key, value in os.environ.items() if key != "NUMBA_CACHE_DIR"}
    done = subprocess.run(
        [DEPLOY / "entrypoint.sh", "sh", "-c", 'echo "$NUMBA_CACHE_DIR"; ls "$NUMBA_CACHE_DIR"'],
        env=environment | {"TMPDIR": str(tmp_path), "WARM_NUMBA_CACHE": str(tmp_path / "warm")},
        capture_output=True,
        text=True,
        check=True,
    )
    folder, kernel = done.stdout.split()
    assert kernel == "kernel.nbc" and Path(folder).parent.stat().st_mode & 0o777 == 0o700


def test_no_script_names_a_folder_in_tmp() -> None:
    scripts = [*DEPLOY.rglob("*.sh"), *DEPLOY.rglob("*.sbatch"), *DEPLOY.rglob("*.py")]
    scripts += [path for path in (ROOT / "workflows").rglob("*") if path.suffix != ".pyc"]
    scripts += (ROOT / "benchmarks").glob("*.py")
    names = re.compile(r"/tmp/\w|:-/tmp\}/|gettempdir|mktemp -u")
    named = {
        f"{path.name}: {line.strip()}"
        for path in scripts
        if path.is_file()
        for line in path.read_text().splitlines()
        if names.search(line)
    }
    assert named == {"djservice.sbatch: node=${TMPDIR:-/tmp}/djservice-$UID"}  # checked above
