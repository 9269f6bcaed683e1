"""From a source to all who follow it: a thread looks, the event loop tells."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import AsyncIterator

from vlockstep.errors import VlockstepError
from vlockstep.web import shapes
from vlockstep.web.model import Model, Picture
from vlockstep.web.source import Source

LOOK_SECONDS = 0.5
ALIVE_SECONDS = 5.0


class Hub:
    """All but `run` happens in the loop's thread."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.model = Model(source.kind, int(time.time() * 1000))
        self._changed = asyncio.Condition()
        self._ended = threading.Event()
        self._problem = ""
        self._picture = Picture()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, args=(loop,), name="look", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()

    async def messages(self, after: int | None) -> AsyncIterator[bytes]:
        """Of the stream, without an end: each a server-sent event. Who takes them slowly misses
        some, and gets the whole view instead."""
        changes = None if after is None else self.model.since(after)
        if changes is None:
            yield event("view", self.model.view(), self.model.revision)
            after = self.model.revision
        assert after is not None
        while True:
            changes = self.model.since(after)
            if changes is None:
                yield event("view", self.model.view(), self.model.revision)
                after = self.model.revision
            elif changes:
                for change in changes:
                    yield event("change", change, change["revision"])
                after = changes[-1]["revision"]
            elif not await self._next(after):
                yield b": alive\n\n"

    async def _next(self, after: int) -> bool:
        """Whether there is something newer, within a while."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ALIVE_SECONDS), self._changed:
                await self._changed.wait_for(lambda: self.model.revision != after)
                return True
        return False

    async def _see(self, picture: Picture) -> None:
        if self.model.see(picture) is not None:
            async with self._changed:
                self._changed.notify_all()

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        """The thread's."""
        due = time.monotonic()
        while not self._ended.is_set():
            picture = self._look()
            with contextlib.suppress(RuntimeError):  # the loop has ended
                asyncio.run_coroutine_threadsafe(self._see(picture), loop)
            due = max(due + LOOK_SECONDS, time.monotonic())
            self._ended.wait(due - time.monotonic())
        self.source.close()

    def _look(self) -> Picture:
        """What was seen last stays, with the reason, while nothing can be seen."""
        try:
            self._picture = self.source.look()
        except VlockstepError as error:
            problem: shapes.Problem = {
                "what": "nothing can be seen now: what is shown is old",
                "cause": str(error),
                "target": "",
                "do": f"see that {self.source.name} can be reached",
            }
            last = self._picture
            return Picture(
                last.cluster, last.hosts, last.guests, last.tasks, last.recommendations, [problem]
            )
        return self._picture


def event(name: str, data: object, revision: int | None = None) -> bytes:
    """A server-sent event."""
    number = "" if revision is None else f"id: {revision}\n"
    return f"{number}event: {name}\ndata: {json.dumps(data)}\n\n".encode()
