"""Pages, JSON and metrics on the scheduler's HTTP server: what they show is what the stores hold."""

import asyncio
import html
import json
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from distributed import Scheduler
from prometheus_client.parser import text_string_to_metric_families
from visits import Shown, found, get, rounded

import djservice as dj
from djservice.config.run import Run
from djservice.service.client import Service, SubmittedRun
from djservice.service.records import Record
from djservice.service.submission import pack
from djservice.service.web import answers, api, pages
from djservice.service.web.answers import HISTORY, LANDSCAPE

Settings = dict[str, Any]
#: As the name of a user, in lines, reasons and settings.
ATTACK = "<img src=x onerror=\"document.body.dataset.attacked='yes'\">"
SECRET = "hunter2-0f3c9a77"
PREFIX = "some/where"


class Site:
    """A scheduler behind a prefix with a run that is finished, one that goes on, and one that failed.

    The worker stands still but for tests that want to see it move (``moving``): it would take a processor from all others.
    """

    def __init__(
        self, service: Service, base: str, runs: dict[str, SubmittedRun], worker: psutil.Process
    ) -> None:
        self.service, self.base, self.runs, self.worker = service, base, runs, worker
        self.id = {name: run.id for name, run in runs.items()}
        self.store = {name: Path(run.status()["store"]) for name, run in runs.items()}

    def api(self, rest: str = "", kind: str = "one") -> Any:
        return found(f"{self.base}/djservice/api/runs{rest}", kind)


def leave_failed(state: Path, settings: Settings) -> None:
    """A state directory in which an earlier scheduler left a run that failed, with a token and scripts in its texts."""
    files = [f"/{ATTACK}.root", f"root://host//a.root?authz={SECRET}"]
    config = Run.from_dict(settings | {"input": {"files": files}}).to_dict()
    config["input"]["files"] = files
    record = Record("failed-1", "eve", config, lines=[(1.7e9, ATTACK), (1.7e9, f"token={SECRET}")])
    record.move("queued", "submitted by eve")
    record.move("failed", f"{ATTACK} authz={SECRET}")
    state.mkdir()
    (state / "failed-1.json").write_text(record.to_json())


@pytest.fixture(scope="module")
def site(
    make_cluster: Any,
    tiny_run: Callable[[Path], Settings],
    tmp_path_factory: pytest.TempPathFactory,
) -> Site:
    folder = tmp_path_factory.mktemp("site")
    cluster = make_cluster(folder, {"DASK_DJSERVICE__REPORTS": "true"})
    leave_failed(cluster.state, tiny_run(folder / "failed.zarr"))
    service = cluster.start_scheduler("--dashboard", "--dashboard-prefix", f"/{PREFIX}")
    cluster.start_workers(1)
    end = time.monotonic() + 300
    while not (port := re.search(r"dashboard at: +http://127\.0\.0\.1:(\d+)", cluster.text())):
        assert time.monotonic() < end, cluster.text()
        time.sleep(0.1)

    def submit(name: str, user: str, **sections: Any) -> SubmittedRun:
        run = Run.from_dict(tiny_run(folder / f"{name}.zarr") | sections)
        return service.run(service.ask("submit", config=pack(run), user=user)["id"])

    finished = submit(
        "finished", "ann", optimiser={"iterations": 30, "batch_events": 16, "trees": 4}
    )
    finished.wait(timeout=300)
    running = submit(
        "running", ATTACK, seed=2, optimiser={"iterations": 50_000, "batch_events": 16, "trees": 4}
    )
    runs = {"finished": finished, "failed": service.run("failed-1"), "running": running}
    made = Site(service, f"http://127.0.0.1:{port[1]}/{PREFIX}", runs, cluster.a_worker())
    while made.api(f"/{running.id}")["history_rows"] < 20:
        assert time.monotonic() < end, cluster.text()
        time.sleep(0.1)
    cluster.frozen.append(made.worker)
    made.worker.suspend()
    return made


@pytest.fixture
def moving(site: Site) -> Iterator[None]:
    """The run that goes on does so."""
    site.worker.resume()
    yield
    site.worker.suspend()


@pytest.mark.usefixtures("moving")
@pytest.mark.parametrize("name", ["finished", "running"])
def test_the_json_has_the_numbers_of_the_store(site: Site, name: str) -> None:
    answer = site.api(f"/{site.id[name]}")
    store = dj.Store.read(site.store[name])
    rows, first = answer["history_rows"], answer["history"]["iteration"][0]
    assert rows >= 1 if name == "running" else rows == 30
    assert len(answer["history"]["radius"]) == min(rows, api.ROWS)
    for column in HISTORY:
        assert answer["history"][column] == store.array("history", column)[first:rows].tolist(), (
            column
        )
    for column in LANDSCAPE:
        np.testing.assert_array_equal(answer["scan"][column], store.column("scan", column))
    assert len(answer["scan"]["radius"]) == (4 if name == "finished" else 0)
    assert answer["unreadable"] is None
    status = site.runs[name].status()
    if name == "finished":
        plain = json.loads(json.dumps(status))  # no tuples
        assert plain["result"]["radius"] == store.attributes["result"]["radius"]
        assert {key: answer[key] for key in plain if key != "lines"} == {
            k: v for k, v in plain.items() if k != "lines"
        }
    else:
        assert rows <= status["progress"]["iteration"]
        assert answer["result"] is None
    assert answer["settings"]["optimiser"]["trees"] == 4
    assert any("read 40 events" in line for _, line in answer["lines"])


def test_rows_are_as_many_as_asked_for(site: Site) -> None:
    of = f"/{site.id['finished']}"
    assert site.api(f"{of}?history=7")["history"]["iteration"] == list(range(23, 30))
    assert site.api(f"{of}?from=28")["history"]["iteration"] == [28, 29]
    assert site.api(f"{of}?from=30")["history"]["radius"] == []
    assert site.api(f"{of}?history=0")["history"]["radius"] == []
    for query in ("history=-1", "from=x", "history=1e3", "from=" + 30 * "9"):
        address = f"{site.base}/djservice/api/runs{of}?{query}"
        assert get(address)[0] == 400
        assert "expected a whole number" in found(address, "error")["error"]


def test_all_runs(site: Site) -> None:
    answer = site.api(kind="all")
    states = {run["id"]: run["state"] for run in answer["runs"]}
    assert states == {site.id[name]: name for name in ("finished", "failed", "running")}
    assert [run["user"] for run in answer["runs"]] == ["eve", "ann", ATTACK]
    assert answer["cluster"]["workers"] == answer["cluster"]["threads"] == 1
    assert abs(answer["time"] - time.time()) < 300


def test_a_run_that_is_not_there(site: Site) -> None:
    for unknown in (site.id["finished"][:-1], "%3Cscript%3E", "..%2F..%2Fetc"):
        address = f"{site.base}/djservice/api/runs/{unknown}"
        assert get(address)[0] == 404
        assert "no run" in found(address, "error")["error"]
        status, headers, text = get(f"{site.base}/djservice/{unknown}")
        assert status == 404 and headers["Content-Type"].startswith("text/html")
        assert "no run" in text and "<script>" not in text
    assert site.id["finished"] in site.api(f"/{site.id['finished'][:-1]}", "error")["error"]


def test_a_store_that_cannot_be_read_is_said(site: Site) -> None:
    answer = site.api(f"/{site.id['failed']}")
    assert "there is no store here" in answer["unreadable"]
    assert answer["history_rows"] == 0


def test_no_answer_has_a_secret(site: Site) -> None:
    for rest in ("api/runs", "api/runs/failed-1", "failed-1"):
        text = get(f"{site.base}/djservice/{rest}")[2]
        assert SECRET not in text


def test_stores_are_read_beside_the_loop_and_figures_need_bokeh(
    tiny: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scheduler in this process, from Dask's configuration."""
    leave_failed(tmp_path / "state", tiny)
    read_in: list[threading.Thread] = []
    really = answers.store_columns

    def store_columns(*given: Any) -> dict[str, Any]:
        read_in.append(threading.current_thread())
        return really(*given)

    monkeypatch.setattr(answers, "store_columns", store_columns)
    monkeypatch.setattr(pages, "_BOKEH", None)
    pages._figures.cache_clear()
    argv = ["--state-directory", str(tmp_path / "state")]

    async def look() -> tuple[Any, Any, Any]:
        preload = {"preload": ["djservice.preload"], "preload_argv": argv}
        async with Scheduler(
            host="127.0.0.1", port=0, dashboard_address="127.0.0.1:0", dashboard=False, **preload
        ) as scheduler:
            base = f"http://127.0.0.1:{scheduler.http_server.port}/djservice"
            one, page = [
                await asyncio.to_thread(get, f"{base}/{rest}")
                for rest in ("api/runs/failed-1", "failed-1")
            ]
            del scheduler.plugins["djservice"]
            return one, page, await asyncio.to_thread(get, f"{base}/api/runs")

    one, page, without = asyncio.run(look())
    pages._figures.cache_clear()
    assert one[0] == page[0] == 200
    assert len(read_in) == 1 and read_in[0] is not threading.main_thread()
    assert "pip install &#39;djservice[dashboard]&#39;" in page[2] and "bokeh.min.js" not in page[2]
    assert "/status" not in page[2] and "/workers" not in page[2]  # pages that are not there
    assert (without[0], json.loads(without[2])["error"]) == (
        503,
        "this scheduler does not accept runs, or has not started yet.",
    )


@pytest.mark.usefixtures("moving")
def test_metrics_are_of_runs_that_go_on(site: Site) -> None:
    before = site.runs["running"].status()["progress"]
    _, _, text = get(f"{site.base}/metrics")
    after = site.runs["running"].status()["progress"]
    families = {family.name: family for family in text_string_to_metric_families(text)}
    by_state = {s.labels["state"]: s.value for s in families["djservice_runs"].samples}
    expected = {
        "finished": 1,
        "failed": 1,
        "running": 1,
        "queued": 0,
        "loading": 0,
        "paused": 0,
        "cancelled": 0,
        "set-aside": 0,
    }
    assert by_state == expected

    ended = {s.labels["state"]: s.value for s in families["djservice_runs_ended"].samples}
    assert ended == {"finished": 1, "failed": 0, "cancelled": 0, "set-aside": 0}

    def one(family: str) -> float:
        (sample,) = families[family].samples
        assert sample.labels == {"run": site.id["running"]}
        return float(sample.value)

    for family, key in (
        ("djservice_iteration", "iteration"),
        ("djservice_trees", "trees"),
        ("djservice_steps_done", "done"),
    ):
        assert 0 < before[key] <= one(family) <= after[key]
    assert one("djservice_steps") == 50_000
    iteration = int(one("djservice_iteration"))
    end = time.monotonic() + 300
    while (store := dj.Store.read(site.store["running"])).n_complete("history") < iteration:
        assert time.monotonic() < end
        time.sleep(0.1)
    assert store.array("history", "radius")[iteration - 1] == one("djservice_radius")


def test_the_report_of_a_finished_run_is_written_and_linked(site: Site) -> None:
    page = get(f"{site.base}/djservice/{site.id['finished']}")[2]
    assert f'href="{site.id["finished"]}/report"' in page
    status, headers, text = get(f"{site.base}/djservice/{site.id['finished']}/report")
    assert (status, text) == (200, site.store["finished"].with_suffix(".html").read_text())
    assert "script-src" not in headers["Content-Security-Policy"]
    assert any("report: " in line for _, line in site.runs["finished"].logs())
    for name in (site.id["failed"], "nothing"):
        status, _, text = get(f"{site.base}/djservice/{name}/report")
        assert (status, "Not found" in text) == (404, True)


def test_links_lead_somewhere_behind_a_prefix(site: Site) -> None:
    """Every address that a page refers to, resolved as a browser does."""
    for page in ("djservice", f"djservice/{site.id['finished']}", "djservice/nothing"):
        address = f"{site.base}/{page}"
        _, _, text = get(address)
        links = [html.unescape(link) for link in re.findall(r'(?:href|src)="([^"]+)"', text)]
        assert len(links) >= 2
        for link in links:
            target = urllib.parse.urljoin(address, link)
            assert target.startswith(f"{site.base}/") and get(target)[0] == 200, target
    assert get(f"{site.base}/djservice/")[2] == get(f"{site.base}/djservice")[2]
    assert 'href="djservice"' in get(f"{site.base}/status")[2]
    assert get(site.base.removesuffix(f"/{PREFIX}") + "/djservice")[0] == 404


def test_the_page_of_a_run_shows_the_numbers_of_its_store(
    site: Site, browse: Callable[[str], Shown]
) -> None:
    page = browse(f"{site.base}/djservice/{site.id['finished']}")
    store = dj.Store.read(site.store["finished"])
    result = store.attributes["result"]
    error = (
        f"{rounded(result['radius_error'], 3)}"
        if np.isfinite(result["radius_error"])
        else "not determined"
    )
    optimum = "" if result["converged"] else " (no optimum)"
    assert page.text["radius"] == f"{rounded(result['radius'], 3)} ± {error}{optimum}"
    assert page.text.get("problem", "") == ""
    columns = {name: store.column("history", name) for name in HISTORY}
    expected = [
        [
            str(row),
            f"{rounded(columns['radius'][row], 4)}",
            f"{rounded(columns['radius_average'][row], 4)}",
            f"{rounded(columns['loss'][row], 5)} ± {rounded(columns['loss_error'][row], 5)}",
            f"{rounded(columns['acceptance'][row], 3)}",
        ]
        for row in range(29, 19, -1)
    ]
    assert [row[:5] for row in page.rows["iterations"]] == expected
    figures = page.attributes["figures"]  # what Bokeh's sources hold
    assert (figures["data-iterations"], figures["data-scan"]) == ("30", "4")
    assert [row[1] for row in page.rows["transitions"]] == [
        "queued",
        "loading",
        "running",
        "finished",
    ]
    assert "read 40 events" in page.text["lines"]
    assert "batch_events: 16" in page.text["settings"]


@pytest.mark.usefixtures("moving")
def test_the_page_of_a_run_that_goes_on_follows_it(
    site: Site, browse: Callable[[str], Shown]
) -> None:
    """In the seconds for which the browser looks, the page goes on without being loaded again."""
    before = site.api(f"/{site.id['running']}")["history_rows"]
    page = browse(f"{site.base}/djservice/{site.id['running']}")
    after = site.api(f"/{site.id['running']}")["history_rows"]
    radii = dj.Store.read(site.store["running"]).array("history", "radius")
    last = int(page.rows["iterations"][0][0])
    assert before <= last + 1 <= after
    assert [row[1] for row in page.rows["iterations"]] == [
        f"{rounded(radii[last - i], 4)}" for i in range(10)
    ]
    assert page.attributes["figures"]["data-iterations"] == str(last + 1)
    assert page.text["radius"].startswith("now ")
    assert int(page.attributes["body"]["data-answers"]) > 2


def test_what_a_user_wrote_is_text(site: Site, browse: Callable[[str], Shown]) -> None:
    """A name and a line that would be scripts if they were taken for HTML."""
    listed = browse(f"{site.base}/djservice")
    shown = {row[0]: row for row in listed.rows["runs"]}
    assert list(shown) == [site.id[name] for name in ("running", "finished", "failed")]
    assert shown[site.id["running"]][1:3] == [ATTACK, "running"]
    radius = dj.Store.read(site.store["finished"]).attributes["result"]["radius"]
    assert shown[site.id["finished"]][5].startswith(f"{rounded(radius, 3)} ± ")
    page = browse(f"{site.base}/djservice/{site.id['failed']}")
    assert page.text["lines"].splitlines()[0].endswith(f"  {ATTACK}")
    assert ATTACK in page.text["state"] and "onerror" in page.text["settings"]
    for seen in (listed, page):
        assert "img" not in seen.attributes
        assert "data-attacked" not in seen.attributes["body"]
