"""Who may ask for the pages: this server's names, in no frame; and what a list of many runs costs."""

import asyncio
import http.client
import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import pytest
from distributed import Scheduler

from djservice.config.run import Run
from djservice.service.records import Record
from djservice.service.submission import pack
from djservice.service.web import answers, api, handler
from djservice.service.web.hosts import is_allowed

Settings = dict[str, Any]
ROUTES = ("djservice", "djservice/", "djservice/ended-0", "djservice/static/list.js")
ROUTES += ("djservice/api/runs", "djservice/api/runs/ended-0", "djservice/bokeh/bokeh.min.js")


def leave(state: Path, settings: Settings, count: int) -> None:
    """A state directory with runs that were cancelled."""
    state.mkdir(mode=0o700)
    for i in range(count):
        record = Record(f"ended-{i}", "ann", pack(Run.from_dict(settings)), lines=[(1.0, "a")])
        record.move("queued", "")
        record.move("cancelled", "")
        (state / f"ended-{i}.json").write_text(record.to_json())


def on_scheduler(state: Path, ask: Callable[[int, Any], Any]) -> Any:
    """What ``ask(port, loop)`` finds in a thread beside a scheduler in this process."""

    async def serve() -> Any:
        preload = {
            "preload": ["djservice.preload"],
            "preload_argv": ["--state-directory", str(state)],
        }
        async with Scheduler(
            host="127.0.0.1", port=0, dashboard_address="127.0.0.1:0", **preload
        ) as scheduler:
            service = scheduler.plugins["djservice"]
            loop = asyncio.get_running_loop()

            def on_loop(coroutine: Any) -> Any:
                return asyncio.run_coroutine_threadsafe(coroutine, loop).result(30)

            return await asyncio.to_thread(
                ask,
                scheduler.http_server.port,
                lambda name, *given: on_loop(getattr(service, name)(*given)),
            )

    return asyncio.run(serve())


def get(port: int, path: str, host: str | None) -> tuple[int, Any, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    connection.putrequest("GET", f"/{path}", skip_host=True)
    if host is not None:
        connection.putheader("Host", host)
    connection.endheaders()
    answer = connection.getresponse()
    found = answer.status, answer.headers, answer.read().decode()
    connection.close()
    return found


def test_foreign_names_and_frames_are_refused_on_every_route(
    tiny: Settings, tmp_path: Path
) -> None:
    leave(tmp_path / "state", tiny, 1)

    def ask(port: int, _: Any) -> None:
        for route in ROUTES:
            for host in (f"evil.example:{port}", "127.0.0.1.evil.example", "localhost.evil", ""):
                status, headers, text = get(port, route, host)
                assert status == 421 and "djservice.dashboard-hosts" in text, (route, host)
                assert "evil" not in text and "ended-0" not in text
            for host in (
                f"127.0.0.1:{port}",
                f"localhost:{port}",
                "[::1]:80",
                socket.gethostname(),
            ):
                status, headers, text = get(port, route, host)
                assert status in (200, 301, 302), (route, host)
                if "static" not in route and "bokeh" not in route:
                    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        status, _, text = get(port, "djservice/api/runs", "evil.example")
        assert list(json.loads(text)) == ["error"]
        with dask.config.set({"djservice.dashboard-hosts": ["Proxy.example"]}):
            assert get(port, "djservice", "proxy.example:443")[0] == 200
            assert get(port, "djservice", "a.proxy.example")[0] == 421

    on_scheduler(tmp_path / "state", ask)


@pytest.mark.parametrize(
    "host, allowed",
    [
        ("localhost", True),
        ("LOCALHOST.", True),
        ("10.0.0.7", True),
        ("fe80::1", True),
        (socket.gethostname(), True),
        ("127.1", False),
        ("2130706433", False),
        ("localhost.", True),
        ("127.0.0.1.nip.io", False),
        ("a,localhost", False),
        ("", False),
    ],
)
def test_names(host: str, allowed: bool) -> None:
    assert is_allowed(host) == allowed


def test_a_list_of_many_runs_is_written_once(
    tiny: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(tmp_path / "state", tiny, 30)
    written: list[str] = []
    really = answers.public_record

    def public_record(record: dict[str, Any]) -> dict[str, Any]:
        written.append(record["id"])
        return really(record)

    monkeypatch.setattr(api.answers, "public_record", public_record)

    def ask(port: int, service: Any) -> None:
        def listed() -> tuple[list[dict[str, Any]], int]:
            before = len(written)
            runs = json.loads(get(port, "djservice/api/runs", "localhost")[2])["runs"]
            return runs, len(written) - before

        runs, count = listed()
        assert (len(runs), count) == (30, 30)
        assert listed() == (runs, 0)
        service("resume", "ended-7", "ann")
        again, count = listed()
        assert again[7]["state"] in ("queued", "loading") and count == 1
        service("cancel", "ended-7", "ann")
        service("forget", "ended-7", "ann")
        left, count = listed()
        assert [run["id"] for run in left] == [run["id"] for run in runs if run["id"] != "ended-7"]
        assert count == 0

    on_scheduler(tmp_path / "state", ask)


def test_a_store_that_does_not_answer_holds_up_no_other_page(
    tiny: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    leave(tmp_path / "state", tiny, 1)
    released = threading.Event()
    monkeypatch.setattr(handler, "READING_TIMEOUT", 0.2)
    monkeypatch.setattr(answers, "store_columns", lambda *given: released.wait(300) and {})

    def ask(port: int, _: Any) -> None:
        for _ in range(6):
            status, _, text = get(port, "djservice/api/runs/ended-0", "localhost")
            assert status == 503 and "does not answer" in json.loads(text)["error"]
        assert get(port, "djservice/api/runs", "localhost")[0] == 200
        assert get(port, "djservice/ended-0", "localhost")[0] == 200
        released.set()

    on_scheduler(tmp_path / "state", ask)
