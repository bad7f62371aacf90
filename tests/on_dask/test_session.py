"""What a signal leaves: one line, and workers that a Ctrl-C in their terminal does not reach."""

import asyncio
import io
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import dask
import pytest
from distributed import Client

from djservice.config.sections import ClusterSection
from djservice.core.display import Lines
from djservice.errors import RunError
from djservice.on_dask import session
from djservice.on_dask.session import client_for, client_of, run_to_completion


def test_certificates_that_cannot_be_used_end_a_local_run_in_one_line(tmp_path: Path) -> None:
    names = ("ca-file", "client.cert", "client.key")
    for name in names:
        (tmp_path / name).write_text("no PEM")
    files = {f"distributed.comm.tls.{name}": str(tmp_path / name) for name in names}

    async def job() -> None:
        async with client_for(ClusterSection(workers=1), Lines(io.StringIO())):
            raise AssertionError

    with (
        dask.config.set(files),
        pytest.raises(RunError, match="correct --tls-cert and --tls-key"),
    ):
        run_to_completion(job(), Lines(io.StringIO()))


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_job_in_one_line(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = io.StringIO()
    monkeypatch.setattr(logging.getLogger("distributed"), "handlers", [logging.NullHandler()])

    async def job() -> None:
        logging.getLogger("distributed.scheduler").warning("said before")
        try:
            os.kill(os.getpid(), number)
            await asyncio.sleep(300)
        finally:
            logging.getLogger("distributed.scheduler").warning("a connection ended")

    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with pytest.raises(RunError, match="stopped by a signal; the same command does what"):
            run_to_completion(job(), Lines(said))
        assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "said before" in said.getvalue() and "a connection" not in said.getvalue()


def test_worker_processes_inherit_that_ctrl_c_is_held_back() -> None:
    """Queues of a process start the tracker of the standard library, which ends such a block."""
    program = (
        "import multiprocessing, signal\n"
        "from djservice.on_dask.session import _block_sigint\n"
        "with _block_sigint():\n"
        "    multiprocessing.get_context('spawn').Queue()\n"
        "    print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()))\n"
        "print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "False"], done.stderr


def test_a_client_that_is_no_longer_wanted_while_it_connects_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As of a run that is cancelled then. The server is one that takes connections and says nothing."""
    clients: list[Client] = []

    class Recorded(Client):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            clients.append(self)

    async def hold(address: str) -> None:
        async with client_of(address):
            pytest.fail("connected")

    async def scenario() -> None:
        connected, ended = asyncio.Event(), asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connected.set()
            await reader.read()
            writer.close()
            ended.set()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            holding = asyncio.create_task(hold(f"tcp://127.0.0.1:{port}"))
            await connected.wait()
            for _ in range(100):  # until Dask waits for an answer
                await asyncio.sleep(0)
            holding.cancel()
            await asyncio.wait([holding])
            assert holding.cancelled()
            assert [client.status for client in clients] == ["closed"]
            await asyncio.wait_for(ended.wait(), 300)

    monkeypatch.setattr(session, "Client", Recorded)
    asyncio.run(scenario())
