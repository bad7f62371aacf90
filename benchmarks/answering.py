"""Workers that compute nothing: Dask's protocol and nothing else, so that a thousand fit on a machine.

They show what a worker shows, and so are admitted. They answer at once, or after a time. They send
no heartbeats.
"""

from __future__ import annotations

import asyncio
import os
import pickle
from time import time
from typing import Any, get_args

from distributed.batched import BatchedSend
from distributed.core import Server, Status, connect
from distributed.protocol import to_serialize
from distributed.protocol.pickle import dumps, loads
from distributed.versions import get_versions

from djservice.on_dask.admission import Work, resource_of, show
from djservice.on_dask.parts import part_of
from djservice.on_dask.tasks import Shares

#: Numbers that Dask's scheduler looks for when a worker registers.
METRICS = {
    "bandwidth": {"total": 1e8, "workers": {}, "types": {}},
    "digests_total_since_heartbeat": {},
    "managed_bytes": 0,
    "spilled_bytes": {"memory": 0, "disk": 0},
    "memory": 0,
    "task_counts": {},
}


class Answering(Server):  # type: ignore[misc]
    """A worker whose every task has one result.

    Parameters
    ----------
    scheduler
        Address of the scheduler.
    result
        The result.
    seconds
        Seconds that a task takes whose answer is sent.
    """

    def __init__(self, scheduler: str, result: Any, seconds: float = 0.0) -> None:
        super().__init__(
            handlers={"get_data": self.get_data, "run": self.run, "plugin-add": self.ignore},
            stream_handlers={
                "compute-task": self.compute,
                "free-keys": self.free,
                "steal-request": self.keep,
            }
            | dict.fromkeys(("remove-replicas", "close"), self.ignore),
        )
        self.scheduler_address, self.result, self.seconds = scheduler, result, seconds
        self.stream = BatchedSend(interval="2ms")
        self.plugins: dict[str, Any] = {}
        self.status = Status.running

    async def register(self) -> None:
        """Join the cluster."""
        await self.listen("tcp://127.0.0.1:0")
        comm = await connect(self.scheduler_address)
        whole = [resource_of(show(work), work) for work in get_args(Work)]
        parts = [part_of(resource, self.address) for resource in whole]
        facts = {
            "address": self.address,
            "name": self.address,
            "status": "running",
            "nthreads": 1,
            "resources": dict.fromkeys([*whole, *parts], 1e9),
            "memory_limit": 0,
            "local_directory": "",
            "services": {},
            "nanny": None,
            "pid": os.getpid(),
            "versions": VERSIONS,
            "metrics": METRICS,
            "extra": {},
            "now": time(),
            "server_id": self.id,
            "stimulus_id": "register",
        }
        await comm.write({"op": "register-worker", "reply": False, **facts}, ["msgpack"])
        answer = await comm.read(deserializers=["msgpack"])
        assert answer["status"] == "OK", answer
        self.stream.start(comm)
        self.handling = asyncio.ensure_future(self.handle_stream(comm))

    def compute(self, key: str, run_id: int, run_spec: Any, **message: Any) -> None:
        """A task has come. Its answer is sent if it is to be."""
        done = {
            "op": "task-finished",
            "status": "OK",
            "key": key,
            "run_id": run_id,
            "nbytes": 1000,
            "type": LIST,
            "typename": "list",
            "metadata": {},
            "thread": 1,
            # Never 0, which Dask takes for the duration of a task that goes on.
            "startstops": [{"action": "compute", "start": 1.0, "stop": 1.01 + self.seconds}],
            "stimulus_id": "done",
        }
        answers = [
            {"op": "log-event", "topic": each.client, "msg": pickle.dumps((key, self.result))}
            for each in run_spec.args
            if isinstance(each, Shares)
        ]
        # Other tasks take no time.
        after = self.seconds if answers else 0.0
        asyncio.get_running_loop().call_later(after, self.stream.send, *answers, done)

    def free(self, keys: list[str], stimulus_id: str) -> None:
        """Results are forgotten, and a worker says so."""
        for key in keys:
            self.stream.send({"op": "release-worker-data", "key": key, "stimulus_id": stimulus_id})

    def keep(self, key: str, stimulus_id: str, **message: Any) -> None:
        """Another worker could do a task, which is done here."""
        answer = {"op": "steal-response", "key": key, "state": "memory", "stimulus_id": stimulus_id}
        self.stream.send(answer)

    async def get_data(self, comm: Any, keys: list[str], **how: Any) -> Any:
        """Send the results of tasks."""
        data = {key: to_serialize(self.result) for key in keys}
        await comm.write({"status": "OK", "data": data})
        assert await comm.read() == "OK"
        return Status.dont_reply

    async def run(self, function: bytes, **message: Any) -> Any:
        """Call a function, as with :meth:`distributed.Client.run`."""
        return {"status": "OK", "result": to_serialize(await loads(function)(dask_worker=self))}

    async def set_resources(self, **resources: float) -> None:
        """What an introduction calls; they were announced before."""

    async def plugin_add(self, plugin: Any) -> None:
        """What an introduction calls; answers are sent as that plugin sends them."""

    def ignore(self, **message: Any) -> Any:
        """An order that means nothing here."""
        return {"status": "OK"}


VERSIONS, LIST = get_versions(), dumps(list)
