"""From a source to all who follow it: a thread looks, the event loop tells."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from concurrent import futures
from dataclasses import dataclass, replace

from starlette.concurrency import run_in_threadpool

from vlockstep.errors import VlockstepError
from vlockstep.web import shapes
from vlockstep.web.counts import Counts
from vlockstep.web.model import Model, Picture
from vlockstep.web.source import Source

LOOK_SECONDS = 0.5
_REST = 3
"""So many times what a look has cost of a processor it waits until the next: with many guests it
looks less often, and takes no more than a quarter, up to looks that cost a second and more."""
_MOST_REST = 4.0
"""Seconds. What is shown is never much older, whatever a look has cost."""
LOOP_SECONDS = 1.0
"""After which it is asked again whether all ends, while the loop has not taken a picture. There is
never more than one that waits."""
ALIVE_SECONDS = 5.0
CONSOLE_SECONDS = 0.25
Messages = AsyncGenerator[bytes, None]


@dataclass
class Tail:
    """A guest's console, told from the byte `after` on, or from near its end."""

    guest: str
    after: int | None


class Hub:
    """All but `run` happens in the loop's thread."""

    def __init__(self, source: Source, seconds: float = LOOK_SECONDS) -> None:
        self.source = source
        self._seconds = seconds
        self.model = Model(source.kind, int(time.time() * 1000))
        self.counts = Counts()
        self._changed = asyncio.Condition()
        self._ended = threading.Event()
        self._picture = Picture()
        """The last one that is shown."""
        self._fault = ""
        """Why that after it could not be shown."""
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, args=(loop,), name="look", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        self._ended.set()
        async with self._changed:
            self._changed.notify_all()

    async def messages(self, after: int | None, console: Tail | None = None) -> Messages:
        """Of the stream: each a server-sent event, until `stop`. Who takes them slowly misses some,
        and gets the whole view instead."""
        known = -1 if after is None else after
        said = time.monotonic()
        while not self._ended.is_set():
            told = list(self._news(known))
            known = self.model.revision
            if console is not None:
                told += await self._more_text(console)
            if not told and time.monotonic() > said + ALIVE_SECONDS:
                told = [b": alive\n\n"]
            for each in told:
                yield each
                said = time.monotonic()
            await self._next(known, CONSOLE_SECONDS if console else ALIVE_SECONDS)

    def _news(self, known: int) -> Iterator[bytes]:
        changes = self.model.since(known)
        if changes is None:
            yield event("view", self.model.view(), self.model.revision)
        for change in changes or ():
            yield event("change", change, change["revision"])

    async def _more_text(self, tail: Tail) -> list[bytes]:
        """Of a console; nothing while it cannot be read."""
        try:
            piece = await run_in_threadpool(self.source.console, tail.guest, tail.after)
        except VlockstepError:
            return []
        if not piece["text"] and tail.after is not None:
            return []
        tail.after = piece["next"]
        return [event("console", piece)]

    async def _next(self, known: int, seconds: float) -> None:
        """Until there is something newer, or so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(
                    lambda: self.model.revision != known or self._ended.is_set()
                )

    async def _see(self, picture: Picture) -> None:
        self.counts.see(picture)
        if self.model.see(picture) is not None:
            async with self._changed:
                self._changed.notify_all()

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        """The thread's."""
        due = time.monotonic()
        try:
            while not self._ended.is_set():
                before = time.thread_time()
                picture = self._look()
                rest = min(_REST * (time.thread_time() - before), _MOST_REST)
                self._show(picture, loop)
                due = max(due + self._seconds, time.monotonic() + rest)
                self._ended.wait(due - time.monotonic())
        finally:
            self.source.close()

    def _look(self) -> Picture:
        """What was shown last stays, with the reason, while nothing can be seen."""
        if self._fault:
            return self._blind(self._fault)
        try:
            return self.source.look()
        except VlockstepError as error:
            return self._blind(str(error))
        except Exception as error:  # a fault of ours: the view must not stand still without a word
            return self._blind(f"{type(error).__name__}: {error}")

    def _show(self, picture: Picture, loop: asyncio.AbstractEventLoop) -> None:
        """Returns when the loop has taken it, or all ends."""
        seeing = self._see(picture)
        try:
            future = asyncio.run_coroutine_threadsafe(seeing, loop)
        except RuntimeError:  # it has ended
            seeing.close()
            return
        while not futures.wait([future], LOOP_SECONDS).done:
            if self._ended.is_set():
                return
        self._fault = ""
        try:
            future.result()
            self._picture = picture
        except futures.CancelledError:
            return
        except Exception as error:
            self._fault = f"{type(error).__name__}: {error}"

    def _blind(self, cause: str) -> Picture:
        problem: shapes.Problem = {
            "what": "nothing can be seen now: what is shown is old",
            "cause": cause,
            "target": "",
            "do": f"see that {self.source.name} can be reached",
        }
        return replace(self._picture, problems=[problem], events=())


def event(name: str, data: object, revision: int | None = None) -> bytes:
    """A server-sent event."""
    number = "" if revision is None else f"id: {revision}\n"
    return f"{number}event: {name}\ndata: {json.dumps(data, allow_nan=False)}\n\n".encode()
