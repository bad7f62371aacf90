"""Real processes that write a store at once, or stand still while another takes it over."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from opened_stores import contents, open_store

from djservice.errors import StoreError
from djservice.store.run_store import Store, remove

#: Opens stores argv[2] for the run argv[1] as soon as files argv[3] appear, and prints the outcome.
CREATE = """
import os, sys, time
from pathlib import Path
sys.path[:0] = [sys.argv[4]]
from opened_stores import open_store
from djservice.errors import StoreError
print("ready", os.getpid(), flush=True)
for number in range(5):
    while not Path(f"{sys.argv[3]}{number}").exists():
        time.sleep(0.0001)
    try:
        with open_store(f"{sys.argv[2]}{number}", seed=int(sys.argv[1])) as store:
            store.write_rows("history", 0, {"radius": [float(sys.argv[1])]})
            time.sleep(0.1)
        print("wrote", flush=True)
    except StoreError as error:
        print(error, flush=True)
"""


def start(code: str, *arguments: object, alone: bool = False) -> subprocess.Popen[str]:
    """A Python process; ``alone``: in process and machine names of its own, as in a container."""
    command = [sys.executable, "-c", code, *map(str, arguments), str(Path(__file__).parent)]
    if alone:
        command = ["unshare", "--pid", "--uts", "--net", "--fork", "--kill-child", *command]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def line(process: subprocess.Popen[str]) -> str:
    """The next line of a process."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_two_containers_with_one_process_number_create_a_store(
    tmp_path: Path, requires: Callable[[str, object], None]
) -> None:
    """Two runs, five times: one of them writes it and the other is refused."""
    requires("root, for namespaces", os.geteuid() == 0 and shutil.which("unshare"))
    arguments = tmp_path / "run.zarr", tmp_path / "go"
    with (
        start(CREATE, 1, *arguments, alone=True) as one,
        start(CREATE, 2, *arguments, alone=True) as two,
    ):
        assert line(one) == line(two)  # the same process number
        for number in range(5):
            (tmp_path / f"go{number}").touch()
            said = [line(one), line(two)]
            writer = said.index("wrote") + 1
            assert re.search("another process is writing|another run", said[2 - writer])
            store = Store.read(tmp_path / f"run.zarr{number}")
            assert store.attributes["numbers"]["seed"] == writer
            assert store.column("history", "radius").tolist() == [writer]
    assert (one.returncode, two.returncode) == (0, 0)
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


#: Writes rows into the store argv[1] for ever.
WRITE = """
import sys
sys.path[:0] = [sys.argv[2]]
from opened_stores import open_store
with open_store(sys.argv[1]) as store:
    while True:
        store.write_rows("history", 0, {"radius": [0.9], "loss": [1.0], "gradient": [1.0]})
        print("wrote", flush=True)
"""


def test_a_writer_that_stood_still_while_its_store_was_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "run.zarr"
    with start(WRITE, path) as process:
        try:
            assert line(process) == "wrote"
            process.send_signal(signal.SIGSTOP)
            with pytest.raises(StoreError, match="another process is writing"):
                remove(path)
            shutil.rmtree(path)
            with open_store(path, seed=2) as store:
                store.write_rows("history", 0, {"radius": [0.4]})
                before = contents(path)
                process.send_signal(signal.SIGCONT)
                said = process.communicate(timeout=300)[0]
                assert process.returncode == 1 and "another process" in said.splitlines()[-1]
                assert contents(path) == before
                store.write_rows("history", 1, {"radius": [0.5]})
            assert Store.read(path).column("history", "radius").tolist() == [0.4, 0.5]
        finally:
            process.kill()
