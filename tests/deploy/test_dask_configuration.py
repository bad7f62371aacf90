"""The configuration files for Dask: every key is one of Dask's, and a scheduler starts with them and takes runs."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask.config
import distributed
import psutil
import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILES = ROOT / "deploy/dask"


def keys(found: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(found, dict):
        for key, value in found.items():
            yield from keys(value, f"{prefix}.{key}" if prefix else key)
    else:
        yield prefix


@pytest.mark.parametrize("name", ["base", "hpc", "k8s"])
def test_keys_are_those_of_dask(name: str) -> None:
    defaults: list[Any] = [
        yaml.safe_load(Path(module.__file__).with_name(file).read_text())
        for module, file in ((dask, "dask.yaml"), (distributed, "distributed.yaml"))
    ]
    found = list(keys(yaml.safe_load((FILES / f"{name}.yaml").read_text())))
    assert len(found) >= 4
    for key in found:
        assert any(_has(default, key.split(".")) for default in defaults), key


def _has(found: Any, path: list[str]) -> bool:
    return not path or (
        isinstance(found, dict) and path[0] in found and _has(found[path[0]], path[1:])
    )


@pytest.mark.parametrize("place", ["hpc", "k8s"])
def test_a_scheduler_starts_with_them(place: str, tmp_path: Path) -> None:
    (tmp_path / "dask").mkdir()
    for name in ("base", place):
        (tmp_path / f"dask/{name}.yaml").write_text((FILES / f"{name}.yaml").read_text())
    subprocess.run([ROOT / "workflows/make_ca.sh", tmp_path / "tls", "all"], check=True)
    tls = {"ca-file": f"{tmp_path}/tls/ca.pem"}
    for role in ("scheduler", "worker", "client"):
        tls |= {f"{role}.cert": f"{tmp_path}/tls/all.pem", f"{role}.key": f"{tmp_path}/tls/all.key"}
    names = {
        f"DASK_DISTRIBUTED__COMM__TLS__{key.upper().replace('-', '_').replace('.', '__')}": at
        for key, at in tls.items()
    }
    environment = os.environ | names | {"DASK_CONFIG": str(tmp_path / "dask")}
    programs = Path(sys.executable).parent
    listen = ["--host", "tls://127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0"]
    preload = ["--preload", "djservice.preload", "--state-directory", str(tmp_path / "state")]
    file = tmp_path / "scheduler.json"
    command = [programs / "dask", "scheduler", *listen, "--scheduler-file", file, *preload]
    with open(tmp_path / "log", "ab") as log:
        scheduler = psutil.Popen(
            [str(part) for part in command], env=environment, stdout=log, stderr=log
        )
    try:
        end = time.monotonic() + 300
        while not file.exists() or not file.read_text().endswith("}"):
            assert scheduler.poll() is None and time.monotonic() < end, (
                tmp_path / "log"
            ).read_text()
            time.sleep(0.1)
        address = yaml.safe_load(file.read_text())["address"]
        assert address.startswith("tls://")
        code = (
            "import dask.config, time\nfrom djservice.service.client import connect\nfrom djservice.errors import ServiceError\n"
            f"from distributed import Client\nend = time.monotonic() + 300\nwhile True:\n    try:\n        print(connect({address!r}).runs())\n"
            "        break\n    except ServiceError:\n        assert time.monotonic() < end\n        time.sleep(0.2)\n"
            f"with Client({address!r}) as client:\n    print(client.run_on_scheduler(lambda: __import__('dask').config.get('distributed.scheduler.worker-ttl')))"
        )
        asked = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        expected = {"hpc": "5 minutes", "k8s": "2 minutes"}[place]
        assert asked.stdout.splitlines() == ["[]", expected], asked.stderr
    finally:
        scheduler.kill()
        scheduler.wait()
