"""Workers show their code, packages and arithmetic; tasks of a run go to those that show the same."""

import asyncio
import importlib.metadata
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import dask
import pytest
from distributed import Client, LocalCluster
from distributed.comm import CommClosedError
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

import djservice as dj
from djservice.config.run import Run
from djservice.core import provenance
from djservice.core.display import Lines
from djservice.errors import RunError
from djservice.on_dask import admission, session
from djservice.on_dask import crew as crew_module
from djservice.on_dask.admission import differences, resource_of, show
from djservice.on_dask.arithmetic import (
    _clustering_digest,
    clustering_digest,
    reading_digest,
)
from djservice.on_dask.crew import Crew
from djservice.service.journal import Journal
from djservice.store.run_store import Store

#: What NumPy has code for on this processor, as NPY_DISABLE_CPU_FEATURES takes it.
FEATURES = " ".join(name for name in __cpu_dispatch__ if __cpu_features__[name])


def lines(journal: Journal) -> str:
    return " ".join(line for _, line in journal.lines)


async def mustered(address: str, journal: Journal) -> tuple[Crew, dict[str, Any]]:
    async with Client(address, asynchronous=True, set_as_default=False) as client:
        crew = await Crew.muster(client, journal)
        return crew, await crew.workers("reading")


def test_a_worker_alike_is_admitted(scheduler: str) -> None:
    journal = Journal()
    _, workers = asyncio.run(mustered(scheduler, journal))
    assert len(workers) == 1 and lines(journal) == ""


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"code": "another"}, r"djservice has other sources \(another, here "),
        ({"versions": {"numpy": "1.0"}}, r"numpy is 1\.0 there and "),
        ({"problem": "ImportError: x"}, r"missing, too old or broken \(ImportError: x\)"),
    ],
)
def test_a_cluster_of_strangers_is_refused_by_name(
    scheduler: str, change: dict[str, Any], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = show("reading")
    shown = change if "problem" in change else {**real, **change}
    monkeypatch.setattr("djservice.on_dask.crew.introduction", lambda *_: lambda: shown)
    with pytest.raises(RunError, match=rf"tcp://127\.0\.0\.1:\d+: .*{reason}.*same image"):
        asyncio.run(mustered(scheduler, Journal()))


def test_arithmetic_that_differs_is_another_resource() -> None:
    one = show("reading")
    other = {**one, "arithmetic": "other"}
    assert resource_of(one, "reading") != resource_of(other, "reading")
    assert "NPY_DISABLE_CPU_FEATURES" in differences(other, one)


def test_sources_that_changed_under_a_process_make_it_a_stranger(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(admission, "code_hash", lambda: "new")
    assert "changed since it started" in admission.show.__wrapped__("reading")["code"]


def test_a_name_of_a_processor_makes_no_stranger(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it computes is shown instead."""
    monkeypatch.setattr(provenance, "_processor", lambda: "another")
    assert admission.show.__wrapped__("reading") == show("reading")


def test_packages_of_networks_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their versions change scores, and so does a worker that lacks them."""
    real = importlib.metadata.version
    versions = {"torch": "1.0", "onnxruntime": "1.0"}
    monkeypatch.setattr(provenance, "version", lambda name: versions.get(name) or real(name))
    here = admission.show.__wrapped__("reading")
    versions["onnxruntime"] = "2.0"
    said = differences(admission.show.__wrapped__("reading"), here)
    assert said == "onnxruntime is 2.0 there and 1.0 here"


@asynccontextmanager
async def local(workers: int) -> AsyncIterator[tuple[Any, Client]]:
    """A cluster in threads of this process, and its client."""
    async with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=False,
            dashboard_address=None,
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},  # 8787 may be another test's
            asynchronous=True,
        ) as cluster,
        Client(cluster, asynchronous=True, set_as_default=False) as client,
    ):
        yield cluster, client


@contextmanager
def standing_still(worker: Any) -> Iterator[None]:
    """Meanwhile a worker answers nothing and gives no sign of life, as a process that is stopped."""
    awake, handlers = asyncio.Event(), dict(worker.handlers)

    async def nothing(*_: Any, **__: Any) -> None:
        await awake.wait()

    worker.handlers.update({"run": nothing, "plugin-add": nothing})
    worker.periodic_callbacks["heartbeat"].stop()
    yield
    worker.handlers.update(handlers)
    awake.set()


@pytest.mark.parametrize("known", [False, True])
def test_a_worker_that_stands_still_holds_up_no_run(
    known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither one that joined before, nor one that was admitted to an earlier run."""
    monkeypatch.setattr(crew_module, "PATIENCE", 0.2)

    async def run() -> None:
        journal = Journal()
        async with local(2) as (cluster, client):
            still = cluster.workers[1]
            if known:
                await (await Crew.muster(client, journal)).admit_to_clustering()
            with standing_still(still):
                crew = await Crew.muster(client, journal)
                await crew.admit_to_clustering()
                admitted = {*await crew.workers("clustering")}
                assert admitted - {still.address} == {cluster.workers[0].address}
                task = crew.submit(bool, key="a", work="clustering")
                assert await crew.gather([task]) == [False]
        assert lines(journal).count(f"no answer of {still.address}") == 1

    asyncio.run(asyncio.wait_for(run(), 300))


def test_late_strangers_are_named_while_another_worker_stands_still(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(crew_module, "LOOK", 0.1)
    monkeypatch.setattr(crew_module, "REMIND", 0.5)

    async def run() -> None:
        journal, strange = Journal(), {**show("reading"), "code": "another"}
        async with local(1) as (cluster, client):
            crew = await Crew.muster(client, journal)
            with standing_still(cluster.workers[0]):
                monkeypatch.setattr(admission, "show", lambda work: strange)
                cluster.scale(2)
                done = asyncio.Event()
                watching = asyncio.ensure_future(crew.watched(done.wait()))
                while not ("other sources" in lines(journal) and "sign of life" in lines(journal)):
                    await asyncio.sleep(0.05)
                done.set()
                await watching
            assert {*await crew.workers("reading")} == {cluster.workers[0].address}
            stranger = cluster.workers[1].address
        assert f"{stranger} gets no work of this run: djservice has other sources" in lines(journal)

    asyncio.run(asyncio.wait_for(run(), 300))


def test_an_empty_cluster_is_asked_for_workers() -> None:
    """The task that waits makes an adaptive cluster scale up from none."""

    async def muster() -> str:
        journal = Journal()
        async with local(0) as (cluster, client):
            cluster.adapt(minimum=0, maximum=1, interval="50ms")
            crew = await Crew.muster(client, journal)
            assert len(await crew.workers("reading")) == 1
        return lines(journal)

    assert "has no workers yet; waiting for the first one" in asyncio.run(
        asyncio.wait_for(muster(), 300)
    )


class Dying:
    """What a client sees of a cluster whose one worker ends and starts again whenever it is asked something."""

    def __init__(self, addresses: int) -> None:
        self.scheduler, self.lives, self.addresses = self, 0, addresses

    async def identity(self, n_workers: int) -> dict[str, Any]:
        return {
            "workers": {f"tcp://127.0.0.1:{self.lives % self.addresses + 1}": {"resources": {}}}
        }

    async def register_plugin(self, plugin: object) -> None:
        pass

    async def run(self, *_: Any, **__: Any) -> None:
        self.lives += 1
        raise CommClosedError("gone")


@pytest.mark.parametrize("addresses", [1, 9])
def test_workers_that_end_as_soon_as_they_start_end_the_run(addresses: int) -> None:
    """As where a container has too little memory for their imports."""
    client = Dying(addresses)
    with pytest.raises(
        RunError, match=r"does not answer \(.*gone\).*out of memory.*--memory-limit"
    ):
        asyncio.run(asyncio.wait_for(Crew.muster(client, Journal()), 300))
    assert client.lives == 4  # as Dask's limit for tasks


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Workers are looked at often, and tasks that no worker may take end soon."""
    monkeypatch.setattr(crew_module, "LOOK", 0.05)
    with dask.config.set({"distributed.scheduler.no-workers-timeout": "1s"}):
        yield


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "lack", ["a worker that can read the files", "a worker that announces GPU"]
)
def test_what_no_worker_may_take_is_said_and_ends_at_the_limit(lack: str) -> None:
    """The workers that are left are admitted, and cannot do what is waited for."""

    async def run() -> None:
        journal = Journal()
        async with local(1) as (cluster, client):
            crew = await Crew.muster(client, journal)
            reading = "read" in lack
            if reading:
                crew.found_blind(*cluster.scheduler.workers, "no such file")
            else:
                await crew.admit_to_clustering()
                crew.also["clustering"] = {"GPU": 1.0}
            task = crew.submit(bool, key="a", work="reading" if reading else "clustering")
            with pytest.raises(RunError, match=r"no-workers-timeout.*that see its files"):
                await crew.gather([task])
        assert lines(journal).count(f"waiting for {lack}") == 1

    asyncio.run(asyncio.wait_for(run(), 300))


@pytest.mark.usefixtures("impatient")
def test_a_cluster_that_stays_empty_ends_at_the_limit() -> None:
    async def run() -> None:
        async with local(0) as (_, client):
            with pytest.raises(RunError, match="no-workers-timeout"):
                await Crew.muster(client, Journal())

    asyncio.run(asyncio.wait_for(run(), 300))


def test_reads_go_on_with_a_worker_that_joins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were left could not read the files; clustering says nothing of it meanwhile."""
    monkeypatch.setattr(crew_module, "LOOK", 0.05)

    async def run() -> None:
        journal = Journal()
        async with local(1) as (cluster, client):
            crew = await Crew.muster(client, journal)
            await crew.admit_to_clustering()
            crew.found_blind(*cluster.scheduler.workers, "no such file")
            task = crew.submit(bool, key="a", work="clustering")
            await crew.watched(asyncio.sleep(0.3))
            assert await crew.gather([task]) == [False] and "waiting" not in lines(journal)
            reading = asyncio.ensure_future(crew.gather([crew.submit(bool, key="b")]))
            while "waiting for a worker that can read" not in lines(journal):
                await asyncio.sleep(0.05)
            cluster.scale(2)
            assert await reading == [False]

    asyncio.run(asyncio.wait_for(run(), 300))


def test_a_store_goes_on_with_another_arithmetic_with_a_line(
    scheduler: str, tiny: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tiny | {"cluster": {"scheduler": scheduler}}
    store = Store.read(dj.run(Run.from_dict(settings)).store)
    versions, (stretch,) = (store.attributes[name] for name in ("versions", "stretches"))
    assert "other versions" not in capsys.readouterr().err
    store.set(stretches=[stretch | {"versions": stretch["versions"] | {"arithmetic": "x"}}])
    dj.run(Run.from_dict(settings))
    assert f"arithmetic x -> {versions['arithmetic']}" in capsys.readouterr().err


def test_local_workers_have_no_profiler(
    monkeypatch: pytest.MonkeyPatch, tiny: dict[str, Any]
) -> None:
    seen = []

    def cluster(*_: Any, **__: Any) -> Any:
        seen.append(dask.config.get("distributed.worker.profile.enabled"))
        raise RunError("enough")

    monkeypatch.setattr(session, "local_cluster", cluster)

    async def start() -> None:
        async with session.client_for(Run.from_dict(tiny).cluster, Lines()):
            pass

    with pytest.raises(RunError, match="enough"):
        asyncio.run(start())
    assert seen == [False]


RESULTS = """
import hashlib, numpy as np, djservice as dj
from djservice.on_dask.arithmetic import fixed_events, reading_digest
from djservice.fit.curvature import curvature_fit
events = fixed_events()
loss = dj.SquaredError(dj.observables.dijet_mass, target=60.0, scale=60.0) + dj.RobustWidth(
    dj.observables.dijet_mass, scale=60.0, bins=8)
gradient = dj.gradient(events, loss, radius=0.7, trees=8, seed=1)
x = np.linspace(0.4, 1.2, 9)
errors = 0.01 + 0.01 * x
scan = {"radius": x, "loss": (x - 0.7) ** 2, "gradient": 2 * x - 1.4}
fit = curvature_fit(0.7, scan | {"loss_tree_error": errors, "gradient_tree_error": errors})
numbers = [events.rapidity, [gradient.value, gradient.error], *fit[1:]]
print(hashlib.sha256(b"".join(np.asarray(n).tobytes() for n in numbers)).hexdigest(), reading_digest())
"""


def results(**environment: str) -> list[str]:
    command = [sys.executable, "-c", RESULTS]
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_numbers_do_not_depend_on_numpys_vector_code() -> None:
    """They agree without it, while NumPy's functions differ, which the digest shows."""
    plain, without = results(), results(NPY_DISABLE_CPU_FEATURES=FEATURES)
    assert plain[0] == without[0]
    assert plain[1] != without[1] or not FEATURES


@pytest.mark.long
@pytest.mark.parametrize(
    "environment",
    [
        {"OPENBLAS_CORETYPE": "Prescott"},
        {"OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_NUM_THREADS": "2"},
        {"NUMBA_CPU_NAME": "haswell"},
        {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"},
    ],
    ids=str,
)
def test_numbers_do_not_depend_on_the_processor(environment: dict[str, str]) -> None:
    assert results()[0] == results(**environment)[0]


def test_digests_are_those_of_one_process() -> None:
    assert reading_digest() == reading_digest.__wrapped__()
    assert clustering_digest() == _clustering_digest.__wrapped__()
