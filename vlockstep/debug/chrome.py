"""Chrome's trace format, which Perfetto shows: https://ui.perfetto.dev."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from vlockstep.debug.tracer import Event, What

_PROCESS, _THREAD = 1, 1
_THOUSAND = 1000
_MOST_TEXT = 1000
_PHASES = {What.CALL: "B", What.RETURN: "E"}


class ChromeTrace:
    """Writes one, event by event, that is whole when it is closed. Its microseconds are those of
    the guest's clock; see `Event`."""

    def __init__(self, write: Callable[[str], object], guest: str) -> None:
        self._write = write
        told = {"guest": guest, "clock": "the guest's, and between its readings 1 ns a block"}
        head = {"name": "process_name", "ph": "M", "pid": _PROCESS, "args": {"name": guest}}
        write(f'{{"displayTimeUnit": "ns", "otherData": {json.dumps(told)}, "traceEvents": [\n')
        write(json.dumps(head))

    def add(self, events: Iterable[Event]) -> None:
        for event in events:
            self._write(",\n" + json.dumps(_record(event)))

    def close(self) -> None:
        self._write("\n]}\n")


def _record(event: Event) -> dict[str, Any]:
    record = {
        "name": event.name,
        "cat": event.what.value,
        "ph": _PHASES.get(event.what, "i"),
        "ts": event.time / _THOUSAND,
        "pid": _PROCESS,
        "tid": _THREAD,
        "args": {"position": str(event.position), **_details(event)},
    }
    return record if event.what in _PHASES else record | {"s": "t"}


def _details(event: Event) -> dict[str, Any]:
    """Numbers of 64 bits are no numbers of JavaScript."""
    if event.what in _PHASES:
        return {name: f"{value:#x}" for name, value in event.details.items()}
    if event.what is What.EXCEPTION:
        return {n: value if n == "vector" else f"{value:#x}" for n, value in event.details.items()}
    return {
        name: value[:_MOST_TEXT] if isinstance(value, str) else value
        for name, value in event.details.items()
    }
