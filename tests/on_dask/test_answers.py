"""Answers that are sent: the same as those that are fetched, and fetched where none came."""

import asyncio
import io
import pickle
import time
from typing import Any

import pytest
from thread_cluster import thread_cluster

import djservice as dj
from djservice.clustering.sampling import Sampling
from djservice.core.display import Lines
from djservice.errors import RunError
from djservice.estimators.score_function import LeaveOneOut
from djservice.events.batch import EventBatch
from djservice.fit.requests import Request, RunSetup
from djservice.on_dask import answers
from djservice.on_dask.answers import AnswersWithTasks, answers_of, hearing, send_answer
from djservice.on_dask.bundles import Bundles
from djservice.on_dask.crew import Crew
from djservice.on_dask.held import LONGEST, MOST, Held


def answering(client: str, answer: Any) -> Any:
    """A task that sends its answer."""
    send_answer(client, answer)
    return answer


def failing(client: str, answer: Any) -> Any:
    raise RunError("enough")


async def asked(
    tasks: list[tuple[Any, Any]], lost: bool = False, plugin: bool = True
) -> tuple[list[Any], list[int]]:
    """The answers of tasks, and of how many of them each call for results asked."""
    fetched: list[int] = []
    async with thread_cluster(2) as (cluster, client):
        gather = cluster.scheduler.handlers["gather"]

        async def counted(keys: list[str], **how: Any) -> Any:
            fetched.append(len(keys))
            return await gather(keys=keys, **how)

        cluster.scheduler.handlers["gather"] = counted
        if plugin:
            await client.register_plugin(AnswersWithTasks())
        with hearing(client) as heard:
            if lost:
                client.unsubscribe_topic(client.id)
            futures = [
                client.submit(task, client.id, answer, key=str(i), pure=False)
                for i, (task, answer) in enumerate(tasks)
            ]
            return await answers_of(client, futures, heard), fetched


@pytest.mark.parametrize(
    ("largest", "lost", "plugin", "fetched"),
    [
        (10_000, False, True, [1]),
        (0, False, True, [5]),
        (10_000, True, True, [5]),
        (10_000, False, False, [5]),
    ],
)
def test_what_was_not_heard_is_fetched(
    largest: int, lost: bool, plugin: bool, fetched: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large answers, and those whose messages were lost; an answer may be nothing."""
    monkeypatch.setattr(answers, "LARGEST", largest)
    tasks = [(answering, answer) for answer in (1.5, None, [0.1], "", b"x" * 20_000)]
    got, calls = asyncio.run(asyncio.wait_for(asked(tasks, lost, plugin), 300))
    assert pickle.dumps(got) == pickle.dumps([answer for _, answer in tasks])
    assert calls == fetched


def test_a_failure_is_raised_at_once() -> None:
    with pytest.raises(RunError, match="enough"):
        asyncio.run(asyncio.wait_for(asked([(answering, 1.0), (failing, None)]), 300))


def test_nothing_is_sent_outside_a_worker() -> None:
    send_answer("nobody", 1.0)


def tiny(number: int) -> EventBatch:
    return EventBatch.from_arrays(
        pt=[30.0, 20.0, 10.0 + number],
        rapidity=[0.0, 0.5, 2.0],
        phi=[0.0, 0.5, 2.0],
        mass=[0.0] * 3,
        offsets=[0, 3],
        entry=[number],
        truth=100.0,
    )


REQUESTS = 2 * MOST


async def messages() -> tuple[int, int, list[int]]:
    """Messages to and of a worker for some requests, and how many results it has at most and last."""
    async with thread_cluster(1) as (cluster, client):
        crew = await Crew.muster(client, Lines(io.StringIO()))
        await crew.admit_to_clustering()
        setup = RunSetup(
            dj.SquaredError(dj.observables.dijet_mass), LeaveOneOut(), Sampling(threads=1)
        )
        bundles = Bundles(crew, setup, [], [crew.submit(tiny, 0, key="tiny")], "token")
        bundles.costs, bundles.features = [1.0], [None]
        await bundles.evaluate(Request(0.7, 2, "train", 0))
        (worker,) = cluster.workers.values()
        streams = *cluster.scheduler.stream_comms.values(), worker.batched_stream
        before = [stream.batch_count for stream in streams]
        most = 0
        for iteration in range(REQUESTS):
            await asyncio.sleep(0.02)
            await bundles.evaluate(Request(0.7, 2, "train", 1 + iteration))
            most = max(most, len(worker.data))
        to, of = (stream.batch_count - n for stream, n in zip(streams, before, strict=True))
        del bundles._held  # as at the end of a run
        deadline = time.monotonic() + 300
        while len(worker.data) > 1 and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
        return to, of, [most, len(worker.data)]


def test_one_message_to_a_worker_and_one_of_it_for_each_request() -> None:
    """The first says what to do and what to forget, the other has the answer and the word.

    Now and then a worker says in a message what it has forgotten. A message may come in two.
    """
    to, of, results = asyncio.run(asyncio.wait_for(messages(), 600))
    assert REQUESTS <= to <= REQUESTS + 5
    assert REQUESTS <= of <= REQUESTS + 5
    assert results[0] <= 2 + MOST  # the bundle, and what is on its way
    assert results[1] == 1


def test_what_took_long_is_not_held() -> None:
    """Dask would compute it again, were its worker lost."""

    async def kept() -> list[int]:
        counts = []
        async with thread_cluster(1) as (_, client):
            held = Held()
            for number, seconds in enumerate((0.4 * LONGEST, 0.4 * LONGEST, 0.4 * LONGEST, 1.0)):
                held.add([client.submit(abs, number)], seconds)
                await asyncio.sleep(0.0)  # a future is forgotten in the loop
                counts.append(len(client.futures))
            held.add([client.submit(abs, -1)], 2.0 * LONGEST)
            await asyncio.sleep(0.0)
            return [*counts, len(client.futures)]

    assert asyncio.run(asyncio.wait_for(kept(), 300)) == [1, 2, 0, 1, 0]
