"""A worker behind a network link that is cut: nobody tells the scheduler, and the run goes on without it."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from djservice.config.run import Run


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def link(requires: Callable[[str, object], None]) -> Iterator[tuple[str, str, str, str]]:
    """A network namespace, the near end of the link to it, and the addresses of both ends."""
    number = os.getpid() % 250
    space, near, far = f"dj{number}", f"djn{number}", f"djf{number}"
    requires("the ip command (iproute2), for network namespaces", shutil.which("ip"))
    made = subprocess.run(["ip", "netns", "add", space], capture_output=True, text=True)
    requires(
        f"the right to make network namespaces, as root has ({made.stderr.strip()})",
        made.returncode == 0,
    )
    here, there = f"10.213.{number}.1", f"10.213.{number}.2"
    try:
        ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", space)
        ip("addr", "add", f"{here}/30", "dev", near)
        ip("link", "set", near, "up")
        ip("-n", space, "addr", "add", f"{there}/30", "dev", far)
        ip("-n", space, "link", "set", far, "up")
        ip("-n", space, "link", "set", "lo", "up")
        yield space, near, here, there
    finally:
        ip("netns", "del", space)


@pytest.mark.long  # a worker that stands still misses its heartbeats too, in test_survival.py
def test_the_same_bits_though_the_link_to_a_worker_is_cut(
    link: tuple[str, str, str, str],
    make_cluster: Any,
    disturbable_run: Run,
    undisturbed: Path,
    stored: Callable[[Path], dict[str, bytes]],
    reach: Callable[[Any, str, int], None],
    tmp_path: Path,
) -> None:
    space, near, here, there = link
    short = {
        "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "8s",
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "20",
        "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "12s",
    }
    cluster = make_cluster(tmp_path, short)
    cluster.host, cluster.address = here, f"tcp://{here}:{cluster.port}"
    run = cluster.start_scheduler().submit(disturbable_run)
    cluster.start_workers(1, "--host", there, inside=("ip", "netns", "exec", space))
    reach(run, "optimise", 10)
    ip("link", "set", near, "down")
    cluster.start_workers(1, "--host", "127.0.0.1")
    run.wait(timeout=300)
    # Whichever sees it first, the missing heartbeats (8 to 16 s) or TCP (12 s).
    assert f"Remove worker addr: tcp://{there}" in cluster.text()
    assert stored(Path(disturbable_run.output.store)) == stored(undisturbed)
