"""What the pods of a rendered chart run, as processes of this machine: python pods.py RENDERED.yaml FOLDER, as root in namespaces of its own.

FOLDER has the volumes: data, certificates, kernels as an image has them, and the ConfigMap is written to runs. Host names of Services lead here, the root file
system is read-only, and commands, arguments and environments are those of the chart, through the entry point of the image. What is
not here is Kubernetes: nothing is scheduled, limited, restarted or kept apart.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import yaml

ENTRY_POINT = Path(__file__).parents[2] / "deploy/entrypoint.sh"
SECONDS = 300


def main(rendered: str, place: str) -> None:
    """Start scheduler and worker, submit the run, wait for its end, and reprocess twice."""
    folder = Path(place)
    resources = [each for each in yaml.safe_load_all(Path(rendered).read_text()) if each]
    found = {
        (each["kind"], each["metadata"]["name"].removeprefix("physics-djservice")): each
        for each in resources
    }
    (folder / "runs").mkdir()
    for name, text in found["ConfigMap", ""]["data"].items():
        (folder / "runs" / name).write_text(text)
    services = [each["metadata"]["name"] for each in resources if each["kind"] == "Service"]
    (folder / "hosts").write_text(
        "".join(f"127.0.0.1 {name}\n" for name in ["localhost", *services])
    )
    sh("ip link set lo up", f"mount --bind {folder}/hosts /etc/hosts", "mount --bind /tmp /tmp")
    for name in ("data", "runs", "certificates"):
        sh(f"mount --bind {folder}/{name} /{name}")
    sh(f"mount --bind {folder}/kernels /tmp/numba")
    sh(
        "mount -o remount,ro,bind /runs",
        "mount -o remount,ro,bind /certificates",
        "mount -o remount,ro,bind /",
    )

    scheduler = start(
        found["Deployment", "-scheduler"]["spec"]["template"]["spec"], folder / "scheduler.log"
    )
    worker = start(
        found["Deployment", "-workers"]["spec"]["template"]["spec"], folder / "worker.log"
    )
    for spec in (found["Deployment", "-scheduler"], found["Deployment", "-workers"]):
        wait_for(spec["spec"]["template"]["spec"]["containers"][0], scheduler, worker)
    (submit,) = (
        each
        for (kind, name), each in found.items()
        if kind == "Job" and name.startswith("-submit-")
    )
    finish(submit["spec"]["template"]["spec"], folder / "submit.log")
    identifier = (folder / "submit.log").read_text().split()[-1]
    environment = environment_of(submit["spec"]["template"]["spec"]["containers"][0])
    with open(folder / "watch.log", "wb") as log:
        watch = ["djservice", "watch", identifier]
        subprocess.run(watch, env=environment, stdout=log, stderr=log, check=True, timeout=SECONDS)
    job = found["CronJob", "-reprocess"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    for _ in range(2):
        finish(job, folder / "reprocess.log")


def sh(*commands: str) -> None:
    for command in commands:
        subprocess.run(command.split(), check=True)


def environment_of(container: dict[str, Any]) -> dict[str, str]:
    own = {each["name"]: each["value"] for each in container.get("env", [])}
    here = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),  # the code that is tested, installed or not
    }
    return here | own


def start(pod: dict[str, Any], log: Path) -> subprocess.Popen[bytes]:
    (container,) = pod["containers"]
    with open(log, "ab") as written:
        command = [ENTRY_POINT, *container["args"]]
        return subprocess.Popen(
            command, env=environment_of(container), cwd="/data", stdout=written, stderr=written
        )


def finish(pod: dict[str, Any], log: Path) -> None:
    code = start(pod, log).wait(SECONDS)
    assert code == 0, (code, log.read_text())


def wait_for(container: dict[str, Any], *running: subprocess.Popen[bytes]) -> None:
    """Until the startup probe of a container gets its answer."""
    probe = container["startupProbe"]["httpGet"]
    (port,) = (
        each["containerPort"] for each in container["ports"] if each["name"] == probe["port"]
    )
    end = (
        time.monotonic()
        + container["startupProbe"]["failureThreshold"] * container["startupProbe"]["periodSeconds"]
    )
    while True:
        try:
            return urllib.request.urlopen(
                f"http://127.0.0.1:{port}{probe['path']}", timeout=5
            ).close()
        except OSError as error:
            assert time.monotonic() < end and all(process.poll() is None for process in running), (
                error
            )
            time.sleep(0.5)


if __name__ == "__main__":
    os.umask(0o077)
    main(*sys.argv[1:])
