"""Jobs on event loops of their own."""

import asyncio
import threading

import pytest

from djservice.core.event_loops import Stopped, ThreadLoop, finish


def test_a_job_on_its_own_loop_returns_raises_and_is_stopped() -> None:
    cleared: list[str] = []
    begun = threading.Event()

    async def job() -> str:
        begun.set()
        assert threading.current_thread().name == "own"
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError as stop:
            await asyncio.sleep(0.05)  # a second stop does not disturb this
            cleared.append(str(stop))
            raise asyncio.CancelledError("half way") from None
        return "never"

    async def stopped() -> None:
        own = ThreadLoop(job, "own")
        await asyncio.to_thread(begun.wait)
        own.stop("enough")
        own.stop("again")
        with pytest.raises(Stopped, match="half way"):
            await own.ended()
        own.stop("too late")

    finish(stopped())
    assert cleared == ["enough"]

    async def returns() -> int:
        return 3

    async def raises() -> int:
        raise ValueError("no")

    async def both() -> int:
        with pytest.raises(ValueError, match="no"):
            await ThreadLoop(raises, "own").ended()
        return await ThreadLoop(returns, "own").ended()

    assert finish(both()) == 3

    async def from_a_notebook() -> int:
        return finish(returns())

    assert asyncio.run(from_a_notebook()) == 3
