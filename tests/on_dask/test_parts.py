"""Tasks of many workers ask for a part of them: strangers get none, and nothing is lost when workers change."""

import asyncio
import io
import pickle
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import dask
import pytest
from distributed import Client, get_worker
from distributed.core import Status
from thread_cluster import thread_cluster

import djservice as dj
from djservice.clustering.sampling import Sampling
from djservice.core.display import Lines
from djservice.estimators.score_function import LeaveOneOut
from djservice.events.batch import EventBatch
from djservice.fit.requests import Request, RunSetup
from djservice.on_dask import admission, parts
from djservice.on_dask import crew as crew_module
from djservice.on_dask.admission import show
from djservice.on_dask.bundles import Bundles
from djservice.on_dask.crew import Crew
from djservice.on_dask.parts import MANY, PARTS, part_of, resources_near

#: Number of parts in which workers of one machine hardly ever share one.
APART = 10**9


def addresses(number: int) -> list[str]:
    return [f"tcp://10.0.{i // 250}.{i % 250}:4{i:04d}" for i in range(number)]


def test_few_workers_are_one_part_and_many_are_spread() -> None:
    assert resources_near("a", addresses(MANY - 1)) == ["a"] * (MANY - 1)
    sizes = Counter(resources_near("a", addresses(100 * PARTS)))
    assert len(sizes) == PARTS and max(sizes.values()) < 200


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Few workers are treated as many, each is a part of its own, and they are looked at often."""
    monkeypatch.setattr(parts, "MANY", 1)
    monkeypatch.setattr(parts, "PARTS", APART)
    monkeypatch.setattr(crew_module, "LOOK", 0.05)
    with dask.config.set({"distributed.worker.memory.pause": False}):  # paused by the tests only
        yield


async def mustered(client: Client, workers: int) -> Crew:
    crew = await Crew.muster(client, Lines(io.StringIO()))
    await crew.admit_to_clustering()
    while len(await crew.workers("clustering")) < workers:
        await asyncio.sleep(0.02)
    return crew


def place(number: int) -> str:
    """The address of the worker that computes a task."""
    time.sleep(0.01)
    address: str = get_worker().address
    return address


async def gone(cluster: Any, worker: Any) -> None:
    await worker.close()


async def paused(cluster: Any, worker: Any) -> None:
    worker.status = Status.paused
    while cluster.scheduler.workers[worker.address].status != Status.paused:
        await asyncio.sleep(0.02)


async def retired(cluster: Any, worker: Any) -> None:
    await cluster.scheduler.retire_workers([worker.address])


@pytest.mark.usefixtures("many")
def test_each_task_goes_to_the_part_of_its_worker() -> None:
    async def run() -> None:
        async with thread_cluster(3) as (cluster, client):
            crew = await mustered(client, 3)
            near = [*cluster.scheduler.workers] * 20
            assert await crew.gather(crew.map(place, range(60), key="a", near=near)) == near

    asyncio.run(asyncio.wait_for(run(), 300))


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize("leave", [gone, paused, retired])
@pytest.mark.parametrize("shared", [False, True], ids=["alone in its part", "with another"])
def test_others_take_the_tasks_of_a_worker_that_leaves(
    leave: Callable[[Any, Any], Coroutine[Any, Any, None]],
    shared: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where another one is in its part, without a look at the workers."""
    if shared:
        monkeypatch.setattr(parts, "PARTS", 1)
        monkeypatch.setattr(crew_module, "LOOK", 300.0)

    async def run() -> None:
        async with thread_cluster(2) as (cluster, client):
            crew = await mustered(client, 2)
            left, stays = cluster.workers[0], cluster.workers[1].address
            await leave(cluster, left)
            tasks = crew.map(place, range(4), key="a", near=[left.address] * 4)
            assert await crew.gather(tasks) == [stays] * 4

    asyncio.run(asyncio.wait_for(run(), 200))


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize("number", [1, APART], ids=["in one part", "in parts of their own"])
def test_strangers_get_no_task(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither at first, nor when the admitted workers are gone and tasks wait."""
    monkeypatch.setattr(parts, "PARTS", number)

    async def run() -> None:
        async with thread_cluster(2) as (cluster, client):
            crew = await mustered(client, 2)
            admitted = [worker.address for worker in cluster.workers.values()]
            alike = show("reading")
            monkeypatch.setattr(admission, "show", lambda work: {**alike, "code": "another"})
            cluster.scale(3)
            await client.wait_for_workers(3)
            await crew.watched(asyncio.sleep(0.5))
            near = [*cluster.scheduler.workers] * 20
            await gone(cluster, cluster.workers[0])
            first = asyncio.ensure_future(
                crew.gather(crew.map(place, range(60), key="a", near=near))
            )
            assert {*await first} == {admitted[1]}
            await paused(cluster, cluster.workers[1])
            waiting = asyncio.ensure_future(
                crew.gather(crew.map(place, range(60), key="b", near=near))
            )
            assert not (await asyncio.wait([waiting], timeout=1.0))[0]
            cluster.workers[1].status = Status.running
            assert {*await waiting} == {admitted[1]}

    asyncio.run(asyncio.wait_for(run(), 300))


@pytest.mark.usefixtures("many")
def test_tasks_that_ask_for_more_go_to_workers_that_have_it() -> None:
    """The part of a worker that is gone is taken by those with a GPU, though others stay in it."""

    async def run() -> None:
        async with thread_cluster(3) as (cluster, client):
            crew = await mustered(client, 3)
            crew.also["clustering"] = {"GPU": 1.0}
            first, second, plain = cluster.workers.values()
            part = part_of(crew._resource("clustering"), first.address)
            for worker in first, second:
                await worker.set_resources(GPU=1)
            await plain.set_resources(**{part: 1e9})
            await gone(cluster, first)
            tasks = crew.map(place, range(4), key="a", near=[first.address] * 4)
            assert await crew.gather(tasks) == [second.address] * 4

    asyncio.run(asyncio.wait_for(run(), 200))


def bundle(number: int) -> EventBatch:
    return EventBatch.from_arrays(
        pt=[30.0, 20.0, 10.0 + number],
        rapidity=[0.0, 0.5, 2.0],
        phi=[0.0, 0.5, 2.0],
        mass=[0.0] * 3,
        offsets=[0, 3],
        entry=[number],
        truth=100.0,
    )


@dj.observable(units="GeV")
def slow_mass(jets: Any) -> Any:
    """An observable that gives the cluster time to change."""
    time.sleep(0.2)
    return dj.observables.dijet_mass(jets)


async def paused_a_while(cluster: Any, worker: Any) -> None:
    """What waits behind another task on a paused worker waits until it goes on; others do not."""
    await paused(cluster, worker)
    await asyncio.sleep(0.5)
    worker.status = Status.running


async def joined(cluster: Any, worker: Any) -> None:
    cluster.scale(5)


async def sums(change: Callable[[Any, Any], Coroutine[Any, Any, None]] | None) -> list[bytes]:
    """The sums of some iterations of four workers, one of which changes in the middle of each."""
    setup = RunSetup(dj.SquaredError(slow_mass), LeaveOneOut(), Sampling(threads=1))
    async with thread_cluster(4) as (cluster, client):
        crew = await mustered(client, 4)
        futures = [crew.submit(bundle, i, key=f"bundle-{i}") for i in range(8)]
        bundles = Bundles(crew, setup, [], futures, "token")
        bundles.sizes, bundles.costs, bundles.features = [1] * 8, [1.0] * 8, [None] * 8
        found = []
        for iteration in range(3):
            evaluating = asyncio.ensure_future(
                bundles.evaluate(Request(0.7, 4, "train", iteration))
            )
            await asyncio.sleep(0.1)
            if change is not None:
                await change(cluster, [*cluster.workers.values()][iteration])
            found.append(pickle.dumps(await evaluating))
        return found


@pytest.fixture(scope="module")
def undisturbed() -> list[bytes]:
    """The sums when tasks ask for no part and nothing happens."""
    return asyncio.run(asyncio.wait_for(sums(None), 300))


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize("change", [gone, paused_a_while, retired, joined])
def test_the_same_bits_though_workers_change_in_the_middle(
    undisturbed: list[bytes],
    change: Callable[[Any, Any], Coroutine[Any, Any, None]],
) -> None:
    assert asyncio.run(asyncio.wait_for(sums(change), 300)) == undisturbed
