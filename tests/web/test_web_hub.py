"""From a source to who follows it, also while nothing can be seen."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

import pytest
from commands import wait_until
from simulated import TEXT, SimulatedSource

from vlockstep.errors import HostError
from vlockstep.web.hub import Hub, Tail, event
from vlockstep.web.model import Picture

_T = TypeVar("_T")
BLIND = "nothing can be seen now: what is shown is old"


def run(told: Coroutine[Any, Any, _T]) -> _T:
    """Elsewhere: a browser's driver may have a loop in this thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, told).result()


class FailingSource(SimulatedSource):
    """Its second look fails, its third by a fault of its own, and what its fourth has seen cannot
    be shown."""

    looks = 0
    closed = False

    def look(self) -> Picture:
        self.looks += 1
        if self.looks == 2:
            raise HostError("the store does not answer")
        if self.looks == 3:
            raise KeyError("lag")
        if self.looks == 4:
            return Picture(events=[cast(Any, {})])
        return super().look()

    def close(self) -> None:
        self.closed = True


def test_what_was_seen_stays_with_the_reason() -> None:
    source = FailingSource(hosts=2, guests=2)

    async def follow() -> list[Any]:
        hub, told = Hub(source, 0.05), []
        hub.start()
        async for message in hub.messages(None):
            fields = dict(line.split(": ", 1) for line in message.decode().splitlines() if line)
            told.append(json.loads(fields["data"]))
            if hub.source is source and source.looks > 5:
                await hub.stop()
        assert hub.model.view()["guests"].keys() == {"guest-1", "guest-2"}
        return told

    told = run(follow())
    problems = [
        (problem["what"], problem["cause"])
        for each in told
        for path, problems in each.get("set", ())
        if path == ["problems"]
        for problem in problems
    ]
    assert (BLIND, "the store does not answer") in problems
    assert (BLIND, "KeyError: 'lag'") in problems
    assert (BLIND, "KeyError: 'kind'") in problems
    assert problems[-1][0] != BLIND
    wait_until(lambda: source.closed)


def test_a_costly_look_puts_off_the_next_for_a_while_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlockstep.web.hub._REST", 1e9)
    monkeypatch.setattr("vlockstep.web.hub._MOST_REST", 0.05)
    source = FailingSource(hosts=2, guests=2)

    async def follow() -> None:
        hub = Hub(source, 0.05)
        hub.start()
        async with asyncio.timeout(60):
            async for _ in hub.messages(None):
                if source.looks > 2:
                    await hub.stop()

    run(follow())
    assert source.looks > 2


@pytest.mark.parametrize("number", [float("inf"), float("nan")])
def test_what_is_told_is_json(number: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        event("view", {"lag": number})


class StillSource(SimulatedSource):
    """Nothing changes."""

    def look(self) -> Picture:
        return Picture()


def test_who_follows_a_console_hears_that_the_server_lives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vlockstep.web.hub.ALIVE_SECONDS", 0)

    async def follow() -> list[bytes]:
        messages = Hub(StillSource(2, 2)).messages(None, Tail("guest-1", len(TEXT)))
        async with contextlib.aclosing(messages):
            return [await anext(messages) for _ in range(2)]

    first, second = run(follow())
    assert b"event: view" in first and second == b": alive\n\n"
