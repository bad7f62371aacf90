"""A gateway of its own with the local backend: a cluster is made, computes, and takes runs."""

import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psutil
from ports import free_port

CONFIGURATION = Path(__file__).parents[2] / "deploy/gateway/dask_gateway_config.py"
#: In a process of its own, for dask-gateway registers a protocol and warns of what others deprecate.
USER = """
import sys
from dask_gateway import BasicAuth, Gateway
import djservice as dj
with Gateway(sys.argv[1], auth=BasicAuth("ann", "opensesame")) as gateway, gateway.new_cluster() as cluster:
    cluster.scale(1)
    with cluster.get_client() as client:
        print(client.submit(lambda x: x + 1, 41).result(timeout=300))
    print(dj.connect(cluster.scheduler_address, cluster.security).runs())
"""


def healthy(url: str) -> bool:
    """Whether a gateway answers; "server started" in its log comes before its proxy knows the way to it."""
    try:
        with urllib.request.urlopen(f"{url}/api/health", timeout=10) as answer:
            return answer.status == 200
    except OSError:  # refused, or Not Found
        return False


def test_a_cluster_of_a_gateway_computes_and_takes_runs(
    requires: Callable[[str, object], None], tmp_path: Path
) -> None:
    program = shutil.which("dask-gateway-server", path=Path(sys.executable).parent)
    requires("dask-gateway-server", program)
    address = f"127.0.0.1:{free_port()}"
    settings = {"GATEWAY_ADDRESS": address, "GATEWAY_PASSWORD": "opensesame"}
    path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with open(tmp_path / "log", "ab") as log:
        server = psutil.Popen(
            [str(program), "-f", CONFIGURATION],
            cwd=tmp_path,
            env=os.environ | settings | path,
            stdout=log,
            stderr=log,
        )
    try:
        end = time.monotonic() + 300
        while not healthy(f"http://{address}"):
            assert server.poll() is None and time.monotonic() < end, (tmp_path / "log").read_text()
            time.sleep(0.1)
        user = [sys.executable, "-c", USER, f"http://{address}"]
        done = subprocess.run(user, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.stdout.split() == ["42", "[]"], done.stderr + (tmp_path / "log").read_text()
    finally:
        family = server.children(recursive=True)
        server.terminate()
        server.wait(30)
        for process in family:
            if process.is_running():
                process.kill()
