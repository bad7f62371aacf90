"""The workers that may compute a run: those with its code, its packages and one arithmetic."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any

import dask
from distributed import Client, Future

from djservice.core.progress import Watch
from djservice.errors import RunError
from djservice.on_dask.admission import (
    Shown,
    Work,
    announcement,
    differences,
    introduction,
    likeness,
    resource_of,
)
from djservice.on_dask.gather import LOST, gather
from djservice.on_dask.parts import ByNumber, resources_near, unfilled
from djservice.on_dask.questions import Questions, answer_of
from djservice.on_dask.rehearsal import Rehearsal, rehearse

#: Seconds between two looks at the workers while tasks run, and between two lines about waiting.
LOOK, REMIND = 5.0, 60.0
#: Seconds that workers may be silent while another one has answered.
PATIENCE = 15.0
REMEDY = "Start workers from the same image or environment as this process."
#: Largest number of workers in a message.
_NAMED = 3


class Crew:
    """The admitted workers of a cluster; :meth:`muster` admits them.

    No wait on one worker holds up the others: a process may stand still for any time.

    Attributes
    ----------
    client
        Client of the cluster.
    watch
        Watch that is told of workers that are left out.
    also
        Resources that tasks of each work ask for besides that of admitted workers.
    """

    def __init__(self, client: Client, watch: Watch) -> None:
        self.client, self.watch = client, watch
        self.also: dict[Work, dict[str, float]] = {"reading": {}, "clustering": {}}
        self._expected = likeness()
        self._shown: dict[Work, Shown] = {}
        self._known: set[str] = set()
        self._silent: set[str] = set()
        self._beats: dict[str, tuple[float, float]] = {}
        self._avoided: set[str] = set()
        self._reads, self._asked = set[str](), set[str]()
        self._questions = Questions(client)
        self._registering: dict[Work, asyncio.Future[None]] = {}

    @classmethod
    async def muster(cls, client: Client, watch: Watch) -> Crew:
        """Admit workers of a cluster to reading, as soon as there is one.

        Raises
        ------
        RunError
            If every worker has other code or packages, or all end before they answer, time after time.
        """
        crew = cls(client, watch)
        if not await crew._workers():
            await crew._wait_for_workers()
        await crew._admit("reading")
        return crew

    async def admit_to_clustering(self, also: Sequence[Rehearsal] = ()) -> None:
        """Compile the kernels on the workers, and admit those that cluster alike.

        Parameters
        ----------
        also
            What they do beside growing plain trees, whose kernels are compiled too.

        Raises
        ------
        RunError
            If no worker can compile them.
        """
        await self._admit("clustering")
        if also:
            workers = await self.workers("clustering")
            await self.ask(functools.partial(rehearse, also), workers, lambda done: done is None)

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
        if work == "reading":
            self._reads.add(key)
        return self.client.submit(
            function, *arguments, key=key, resources=self._needed(work, resources)
        )

    def map(
        self, function: Callable[..., Any], *arguments: Sequence[Any], key: str, near: Sequence[str]
    ) -> list[Future]:
        """Submit tasks that cluster, one for each row of arguments, as one message for all.

        Their keys begin with ``key``, and ``near`` has the worker that each is meant for.
        """
        asked = resources_near(self._resource("clustering"), near)
        self._asked |= {*asked}
        needed = {name: {name: 1.0, **self.also["clustering"]} for name in {*asked}}
        keys = [f"{key}-{number}" for number in range(len(near))]
        with dask.annotate(resources=ByNumber([needed[name] for name in asked])):
            futures: list[Future] = self.client.map(function, *arguments, key=keys, pure=False)
        return futures

    def _needed(self, work: Work, resources: Mapping[str, float] | None = None) -> dict[str, float]:
        """The resources of the workers that may take a task."""
        return {self._resource(work): 1.0, **self.also[work], **(resources or {})}

    def _resource(self, work: Work) -> str:
        return resource_of(self._shown[work], work)

    async def other_than(self, worker: str) -> dict[str, float]:
        """The resource of all admitted workers but one; empty if no other one can read.

        A list of workers would not do: a task that names workers waits for ever once they are gone.
        """
        members = await self.workers("reading")
        if not {*members} - {worker, *self._blind(members)}:
            return {}
        self._avoided.add(worker)
        self._grant(members)
        return {_other_than(worker): 1.0}

    def found_blind(self, worker: str, reason: str) -> None:
        """Let a worker read nothing from now on, as others could read what it could not."""
        if not self._blind([worker]):
            self._avoided.add(worker)
            self.also["reading"][_other_than(worker)] = 1.0
            self.watch.say(
                f"the worker {worker} gets no more files to read: another one could read what it "
                f"could not ({reason}). Check its mounts and its network."
            )

    def _blind(self, workers: Iterable[str]) -> list[str]:
        """Those of some workers that get no more files to read."""
        return [name for name in workers if _other_than(name) in self.also["reading"]]

    def _grant(self, members: Mapping[str, Mapping[str, Any]]) -> None:
        """Let admitted workers announce that they are other than those that are avoided."""
        for avoided in self._avoided:
            others = {name: facts for name, facts in members.items() if name != avoided}
            self._questions.let_announce(_other_than(avoided), others)

    def _fill(self, admitted: Mapping[str, Mapping[str, Any]]) -> None:
        """Let workers take the tasks of parts that are gone or paused."""
        able = {
            worker: facts
            for worker, facts in admitted.items()
            if facts["status"] == "running" and {*self.also["clustering"]} <= {*facts["resources"]}
        }
        for part in unfilled(self._asked, able.values()):
            self._questions.let_announce(part, able)

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

        Meanwhile strangers are named when they join, and so is a lack of workers or of their signs
        of life.
        """
        task = asyncio.ensure_future(waiting)
        began, said = time.monotonic(), -REMIND
        try:
            while not (await asyncio.wait([task], timeout=LOOK))[0]:
                passed = time.monotonic() - began
                with contextlib.suppress(OSError):  # the task says that the scheduler is gone
                    lack = await self._look()
                    if lack and passed - said >= REMIND:
                        self.watch.say(f"waiting for {lack}, {passed:.0f} s so far")
                        said = passed
            return await task
        finally:
            task.cancel()

    async def workers(self, work: Work) -> dict[str, dict[str, Any]]:
        """Admitted workers, as Dask describes them."""
        return self._admitted(await self._workers(), work)

    def _admitted(
        self, workers: Mapping[str, dict[str, Any]], work: Work
    ) -> dict[str, dict[str, Any]]:
        whole = self._resource(work)
        return {name: facts for name, facts in workers.items() if whole in facts["resources"]}

    async def _workers(self) -> dict[str, dict[str, Any]]:
        workers: dict[str, dict[str, Any]] = (await self.client.scheduler.identity(n_workers=-1))[
            "workers"
        ]
        return workers

    async def ask(
        self,
        function: Callable[..., Any],
        workers: Iterable[str],
        is_enough: Callable[[Any], object],
    ) -> dict[str, Any]:
        """What a function returns on workers, or its errors.

        Once an answer is enough, silent workers are waited for a while. Then they are named and
        left out.
        """
        questions = {
            worker: asyncio.ensure_future(answer_of(self.client, worker, function))
            for worker in workers
        }
        began = time.monotonic()
        try:
            while waiting := {name: each for name, each in questions.items() if not each.done()}:
                enough = any(is_enough(each.result()) for each in questions.values() if each.done())
                heard, _ = await asyncio.wait(
                    waiting.values(),
                    timeout=PATIENCE if enough else REMIND,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if not heard:
                    self._say_silent(sorted(waiting), time.monotonic() - began, enough)
                if enough and not heard:
                    break
            return {name: each.result() for name, each in questions.items() if each.done()}
        finally:
            for question in questions.values():
                question.cancel()

    def _say_silent(self, workers: Sequence[str], seconds: float, left_out: bool) -> None:
        named = f"{', '.join(workers[:_NAMED])}{_more(workers)}"
        if left_out:
            self._silent |= {*workers}
            self.watch.say(
                f"no answer of {named} for {seconds:.0f} s: the run goes on with the others, and "
                "with these when they answer"
            )
        else:
            self.watch.say(f"waiting for an answer of {named}, {seconds:.0f} s so far")

    async def _admit(self, work: Work) -> None:
        """Choose the largest group of workers that compute alike, and name the others."""
        # Sent to all workers, one of which may stand still: each is asked by itself below.
        self._registering[work] = asyncio.ensure_future(self._register(work))
        introduce, answers = introduction(work, self._expected), dict[str, Any]()
        asked = 0
        while not (sizes := Counter(filter(None, map(self._arithmetic, answers.values())))):
            heard = {name for name, shown in answers.items() if not isinstance(shown, OSError)}
            members = {*await self._workers()}
            if others := members - heard:
                if asked > dask.config.get("distributed.scheduler.allowed-failures"):
                    raise self._refusal(answers, LOST)
                asked += 1
                candidates = others - self._silent or others
                answers |= await self.ask(introduce, candidates, self._arithmetic)
            elif members:
                raise self._refusal(answers)
            else:
                await self._wait_for_workers()
        chosen = min(sizes, key=lambda digest: (-sizes[digest], digest))
        self._shown[work] = {**self._expected, "arithmetic": chosen}
        self._name_strangers(answers, work)

    async def _register(self, work: Work) -> None:
        with contextlib.suppress(Exception):  # of a worker, which is then asked by itself
            await self.client.register_plugin(announcement(work, self._expected))

    def _arithmetic(self, shown: Any) -> str | None:
        """The arithmetic of a worker that is as expected, or None."""
        if not isinstance(shown, dict) or {**shown, "arithmetic": None} != self._expected:
            return None
        return str(shown["arithmetic"])

    def _refusal(self, answers: Mapping[str, Any], remedy: str = REMEDY) -> RunError:
        reasons = [f"{name}: {differences(each, self._expected)}" for name, each in answers.items()]
        return RunError(
            f"no worker can take part in this run: {'; '.join(reasons[:_NAMED])}{_more(reasons)}. "
            f"{remedy}"
        )

    def _name_strangers(self, answers: Mapping[str, Any], work: Work) -> None:
        for name, shown in answers.items():
            reason = differences(shown, self._shown[work])
            if reason and name not in self._known:
                self.watch.say(f"the worker {name} gets no work of this run: {reason}. {REMEDY}")
            if reason or work == "clustering":
                self._known.add(name)

    async def _look(self) -> str:
        """Name strangers that joined, and the silent; what the cluster lacks to go on, if anything."""
        work: Work = "clustering" if "clustering" in self._shown else "reading"
        workers = await self._workers()
        admitted = self._admitted(workers, work)
        unknown = {*workers} - {*admitted} - self._known
        answers = self._questions.answered(unknown)
        self._name_strangers(answers, work)
        for name in unknown - {*answers}:
            self._questions.begin(name, introduction(work, self._expected), name)
        self._grant(self._admitted(workers, "reading"))
        self._fill(admitted)
        self._listen(admitted)
        return self._lack(workers, work)

    def _lack(self, workers: Mapping[str, dict[str, Any]], work: Work) -> str:
        """What no worker of a cluster has that tasks wait for; empty if there is nothing."""
        admitted = self._admitted(workers, work)
        if not admitted:
            return "workers"
        lacking = {*self.also[work]}.difference(*(each["resources"] for each in admitted.values()))
        if lacking and work == "clustering":
            return f"a worker that announces {' and '.join(sorted(lacking))}"
        readers = self._admitted(workers, "reading")
        blind = self._blind(readers)
        if {*readers} - {*blind} or not self._is_reading():
            return ""
        named = f"{', '.join(blind[:_NAMED])}{_more(blind)}"
        return f"a worker that can read the files ({named} could not: start others that see them)"

    def _is_reading(self) -> bool:
        """Whether a read is under way, or its result lost with a worker."""
        known = self.client.futures
        return any(known[key].status != "finished" for key in self._reads & {*known})

    def _listen(self, admitted: Mapping[str, Mapping[str, Any]]) -> None:
        """Name workers that give no sign of life; clocks of two machines are not compared."""
        now = time.monotonic()
        for name, facts in admitted.items():
            beat, since = self._beats.setdefault(name, (facts["last_seen"], now))
            if beat != facts["last_seen"]:
                self._beats[name] = facts["last_seen"], now
                self._silent.discard(name)
            elif now - since >= REMIND and name not in self._silent:
                self._silent.add(name)
                self.watch.say(
                    f"no sign of life of {name} for {now - since:.0f} s: it is given up, and its "
                    "work done again, after distributed.scheduler.worker-ttl"
                )

    async def _wait_for_workers(self) -> None:
        """Wait for a first worker, with a task that waits too: an adaptive cluster sees work."""
        self.watch.say(
            f"{self.client.scheduler.address} has no workers yet; waiting for the first one"
        )
        answer = self.client.submit(bool, pure=False)
        began = said = time.monotonic()
        try:
            while not await self._workers():
                if answer.done():  # it waited for longer than Dask's limit
                    await gather(self.client, [answer])
                await asyncio.sleep(0.1)
                if time.monotonic() - said >= REMIND:
                    said = time.monotonic()
                    self.watch.say(f"waiting for workers, {said - began:.0f} s so far")
        finally:
            answer.release()


def _more(names: Sequence[str]) -> str:
    return f"; and {len(names) - _NAMED} more" if len(names) > _NAMED else ""


def _other_than(worker: str) -> str:
    """Name of the resource of all workers but one."""
    return f"djservice-other-than-{worker}"
