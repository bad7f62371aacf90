"""Scheduler, workers and an S3 server of deploy/compose.yaml, started with one command; a run whose results are on S3."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from containers import IMAGE, build_s3_image, image_is_there, podman, wait_until

pytestmark = pytest.mark.long
FILE = Path(__file__).parents[2] / "deploy/compose.yaml"
PROGRAMS = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
Compose = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def compose(tmp_path: Path, requires: Callable[[str, object], None]) -> Iterator[Compose]:
    """podman-compose with the file, whose containers and volumes are gone in the end."""
    requires("podman and the image: make image", image_is_there())
    program = shutil.which("podman-compose", path=PROGRAMS)
    requires("podman-compose (PyPI)", program)
    s3_image = build_s3_image(tmp_path, requires)
    variables = {"DJSERVICE_IMAGE": IMAGE, "S3_IMAGE": s3_image, "S3_SECRET": "hush-hush"}

    def call(*arguments: str, **others: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(program), "--file", FILE, *arguments],
            env=os.environ | variables | others,
            capture_output=True,
            text=True,
            timeout=900,
        )

    yield call
    call("down", "--volumes", "--timeout", "2")


def listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def test_a_run_on_what_one_command_starts(
    compose: Compose, tiny: dict[str, Any], requires: Callable[[str, object], None]
) -> None:
    taken = [port for port in (8786, 8787) if listens(port)]
    requires(f"that nothing listens on {taken}", not taken)
    started = compose("up", "--detach")
    names = podman("ps", "--format", "{{.Names}}").stdout.split()
    assert sum(name.startswith("djservice_") for name in names) == 4, started.stderr

    def said() -> str:
        return compose("logs").stdout

    def inside(*command: str, **more: Any) -> str:
        done = podman("exec", "--interactive", "djservice_scheduler_1", *command, **more)
        return str(done.stdout) if done.returncode == 0 else ""

    text = yaml.safe_dump(tiny | {"output": {"store": "s3://runs/tiny.zarr"}})
    inside("sh", "-c", "cat > /data/tiny.yaml", input=text)
    submitted = wait_until(lambda: inside("djservice", "submit", "/data/tiny.yaml"), said)

    run = submitted.split()[0]
    inside("djservice", "watch", run)
    (found,) = json.loads(inside("djservice", "list", "--json"))
    assert found["id"] == run and found["state"] == "finished", (found, said())
    assert "store:  s3://runs/tiny.zarr" in inside("djservice", "show", "s3://runs/tiny.zarr")


def test_without_a_password_nothing_starts(compose: Compose) -> None:
    done = compose("up", "--detach", S3_SECRET="")
    assert done.returncode != 0 and "choose a password for the S3 server" in done.stderr
