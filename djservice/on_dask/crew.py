"""The workers that may compute a run: those with its code, its packages and one arithmetic."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from distributed import Client, Future

from djservice.core.progress import Watch
from djservice.errors import RunError
from djservice.on_dask.admission import (
    Shown,
    Work,
    announcement,
    announcing,
    differences,
    question,
    resource_of,
    show,
)
from djservice.on_dask.gather import gather

#: Seconds between two looks at the workers while tasks run, and between two lines about waiting.
LOOK, REMIND = 5.0, 60.0
#: Largest number of workers in a message.
_NAMED = 3


class Crew:
    """The admitted workers of a cluster; :meth:`muster` admits them.

    Attributes
    ----------
    client
        Client of the cluster.
    watch
        Watch that is told of workers that are left out.
    """

    def __init__(self, client: Client, watch: Watch) -> None:
        self.client, self.watch = client, watch
        self._shown: dict[Work, Shown] = {}
        self._known: set[str] = set()
        self._avoided: set[str] = set()
        self._blind: dict[str, float] = {}

    @classmethod
    async def muster(cls, client: Client, watch: Watch) -> Crew:
        """Admit workers of a cluster to reading, as soon as there is one.

        Raises
        ------
        RunError
            If every worker has other code or packages.
        """
        crew = cls(client, watch)
        await client.register_plugin(announcement("reading"))
        if not await crew._workers():
            await crew._wait_for_workers()
        await crew._admit("reading", {**show("reading"), "arithmetic": None})
        return crew

    async def admit_to_clustering(self) -> None:
        """Compile the kernels on the workers, and admit those that cluster alike.

        Raises
        ------
        RunError
            If no worker can compile them.
        """
        await self.client.register_plugin(announcement("clustering"))
        expected = {**self._shown["reading"], "arithmetic": None}
        await self._admit("clustering", expected)

    @property
    def arithmetic(self) -> str:
        """Digest of the arithmetic of the workers that cluster."""
        return str(self._shown["clustering"]["arithmetic"])

    def submit(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        key: str,
        work: Work = "reading",
        resources: Mapping[str, float] | None = None,
    ) -> Future:
        """Submit a task for admitted workers."""
        admitted = {resource_of(self._shown[work], work): 1.0}
        if work == "reading":
            admitted |= self._blind
        return self.client.submit(
            function, *arguments, key=key, resources={**admitted, **(resources or {})}
        )

    async def other_than(self, worker: str) -> dict[str, float]:
        """The resource of all admitted workers but one; empty if there is no other.

        A list of workers would not do: a task that names workers waits for ever once they are gone.
        """
        if not set(await self.workers("reading")) - {worker}:
            return {}
        self._avoided.add(worker)
        await self._grant()
        return {_other_than(worker): 1.0}

    def found_blind(self, worker: str, reason: str) -> None:
        """Let a worker read nothing from now on, as others could read what it could not."""
        if _other_than(worker) not in self._blind:
            self._blind[_other_than(worker)] = 1.0
            self.watch.say(
                f"the worker {worker} gets no more files to read: another one could read what it "
                f"could not ({reason}). Check its mounts and its network."
            )

    async def _grant(self) -> None:
        """Let admitted workers announce that they are other than those that are avoided."""
        members = await self.workers("reading")
        for avoided in self._avoided:
            name = _other_than(avoided)
            lacking = [
                worker
                for worker, facts in members.items()
                if worker != avoided and name not in facts["resources"]
            ]
            if lacking:
                await self.client.run(announcing(name), workers=lacking)

    async def gather(self, futures: Sequence[Future | None]) -> Any:
        """The results of tasks, in their order, with an eye on the workers meanwhile.

        Raises
        ------
        DjserviceError
            See :func:`djservice.on_dask.gather.gather`.
        """
        return await self.watched(gather(self.client, futures))

    async def watched(self, waiting: Coroutine[Any, Any, Any]) -> Any:
        """The result of a coroutine.

        Meanwhile strangers are named when they join, and a lack of workers is said.
        """
        task = asyncio.ensure_future(waiting)
        began, said = time.monotonic(), -REMIND
        try:
            while not (await asyncio.wait([task], timeout=LOOK))[0]:
                passed = time.monotonic() - began
                if not await self._look() and passed - said >= REMIND:
                    self.watch.say(f"waiting for workers, {passed:.0f} s so far")
                    said = passed
            return await task
        finally:
            task.cancel()

    async def workers(self, work: Work) -> dict[str, dict[str, Any]]:
        """Admitted workers, as Dask describes them."""
        resource = resource_of(self._shown[work], work)
        workers = await self._workers()
        return {name: facts for name, facts in workers.items() if resource in facts["resources"]}

    async def _workers(self) -> dict[str, dict[str, Any]]:
        workers: dict[str, dict[str, Any]] = (await self.client.scheduler.identity(n_workers=-1))[
            "workers"
        ]
        return workers

    async def _ask(self, work: Work, workers: Sequence[str] | None = None) -> dict[str, Any]:
        answers: dict[str, Any] = await self.client.run(
            question(work), workers=workers, on_error="return"
        )
        return answers

    async def _admit(self, work: Work, expected: Shown) -> None:
        """Choose the largest group of workers that compute alike, and name the others."""
        answers = await self._ask(work)
        alike = {
            name: shown
            for name, shown in answers.items()
            if isinstance(shown, dict) and {**shown, "arithmetic": None} == expected
        }
        if not alike:
            reasons = [f"{name}: {differences(shown, expected)}" for name, shown in answers.items()]
            more = f"; and {len(reasons) - _NAMED} more" if len(reasons) > _NAMED else ""
            raise RunError(
                f"no worker can take part in this run: {'; '.join(reasons[:_NAMED])}{more}. "
                "Start workers from the same image or environment as this process."
            )
        sizes = Counter(shown["arithmetic"] for shown in alike.values())
        chosen = min(sizes, key=lambda digest: (-sizes[digest], digest))
        self._shown[work] = {**expected, "arithmetic": chosen}
        self._name_strangers(answers, work)

    def _name_strangers(self, answers: Mapping[str, Any], work: Work) -> None:
        for name, shown in answers.items():
            reason = differences(shown, self._shown[work])
            if reason and name not in self._known:
                self.watch.say(f"the worker {name} gets no work of this run: {reason}.")
            if reason or work == "clustering":
                self._known.add(name)

    async def _look(self) -> int:
        """Name strangers that joined; the number of admitted workers."""
        work: Work = "clustering" if "clustering" in self._shown else "reading"
        admitted, workers = await self.workers(work), await self._workers()
        unknown = sorted(set(workers) - set(admitted) - self._known)
        if unknown:
            self._name_strangers(await self._ask(work, unknown), work)
        if self._avoided:
            await self._grant()
        return len(admitted)

    async def _wait_for_workers(self) -> None:
        """Wait for a first worker, with a task that waits too: an adaptive cluster sees work."""
        self.watch.say(
            f"{self.client.scheduler.address} has no workers yet; waiting for the first one"
        )
        answer = self.client.submit(question("reading"), pure=False)
        task = asyncio.ensure_future(gather(self.client, [answer]))
        began = time.monotonic()
        try:
            while not (await asyncio.wait([task], timeout=REMIND))[0]:
                self.watch.say(f"waiting for workers, {time.monotonic() - began:.0f} s so far")
            await task
        finally:
            task.cancel()


def _other_than(worker: str) -> str:
    """Name of the resource of all workers but one."""
    return f"djservice-other-than-{worker}"
