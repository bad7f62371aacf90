"""Answers that are sent: the same as those that are fetched, and fetched where none came."""

import asyncio
import pickle
from typing import Any

import pytest
from distributed import Client, LocalCluster

from djservice.errors import RunError
from djservice.on_dask import answers
from djservice.on_dask.answers import answers_of, hearing, send_answer


def answering(client: str, answer: Any) -> Any:
    """A task that sends its answer."""
    send_answer(client, answer)
    return answer


def failing(client: str, answer: Any) -> Any:
    raise RunError("enough")


async def asked(tasks: list[tuple[Any, Any]], lost: bool = False) -> tuple[list[Any], list[int]]:
    """The answers of tasks, and of how many of them each call for results asked."""
    fetched: list[int] = []
    async with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=False,
            dashboard_address=None,
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
            asynchronous=True,
        ) as cluster,
        Client(cluster, asynchronous=True, set_as_default=False) as client,
    ):
        gather = cluster.scheduler.handlers["gather"]

        async def counted(keys: list[str], **how: Any) -> Any:
            fetched.append(len(keys))
            return await gather(keys=keys, **how)

        cluster.scheduler.handlers["gather"] = counted
        with hearing(client) as heard:
            if lost:
                client.unsubscribe_topic(client.id)
            futures = [
                client.submit(task, client.id, answer, key=str(i), pure=False)
                for i, (task, answer) in enumerate(tasks)
            ]
            return await answers_of(client, futures, heard), fetched


@pytest.mark.parametrize(
    ("largest", "lost", "fetched"), [(10_000, False, [1]), (0, False, [5]), (10_000, True, [5])]
)
def test_what_was_not_heard_is_fetched(
    largest: int, lost: bool, fetched: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large answers, and those whose messages were lost; an answer may be nothing."""
    monkeypatch.setattr(answers, "LARGEST", largest)
    tasks = [(answering, answer) for answer in (1.5, None, [0.1], "", b"x" * 20_000)]
    got, calls = asyncio.run(asyncio.wait_for(asked(tasks, lost), 300))
    assert pickle.dumps(got) == pickle.dumps([answer for _, answer in tasks])
    assert calls == fetched


def test_a_failure_is_raised_at_once() -> None:
    with pytest.raises(RunError, match="enough"):
        asyncio.run(asyncio.wait_for(asked([(answering, 1.0), (failing, None)]), 300))


def test_nothing_is_sent_outside_a_worker() -> None:
    send_answer("nobody", 1.0)
