"""What is to happen: hosts A to D and their guests, after figure 1 of Roszkowski's paper on high
availability.

A is master, since it is connected to most datastores. A1 is protected, with its primary on A and
its secondary on C, and has clients. A2 and A3 run on A without protection, others elsewhere.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from vlockstep.errors import UsageError

SERVER = "A1"
"""The guest that has clients."""
SERVER_MAC = "02:00:00:00:0a:01"
LEDGER_LINES = 200_000
_LEAST, _MOST = 4, len(string.ascii_uppercase)
_PAUSE = 50
_ADDRESSES = ("--ipv4=10.0.2.15/24", "--ipv4-gateway=10.0.2.2")
_WRITE = 512
"""Bytes of its disk that a ledger needs for a line."""


class Deed(StrEnum):
    """What happens to a host."""

    KILL = "killed"
    ISOLATE = "cut off"
    MAINTENANCE = "put into maintenance"


@dataclass(frozen=True)
class PlannedGuest:
    """`host` is where it starts; `file` is its guest.toml."""

    name: str
    host: str
    file: Mapping[str, Any]
    disks: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class HostsPlan:
    """`load` lets guests of one host compute, so that they are moved."""

    hosts: tuple[str, ...]
    deed: Deed
    host: str
    load: bool

    @property
    def guests(self) -> list[PlannedGuest]:
        nic = {"net": {"group": "default", "mac": SERVER_MAC}}
        server = {"image": "kv", "arguments": [*_ADDRESSES], "nic": nic, "ft": True}
        found = [
            PlannedGuest(SERVER, "A", {**server, "priority": "high"}),
            _ledger("A2", "A", isolation="power off"),
            _ledger("A3", "A", isolation="power off"),
            _ledger("B1", "B", isolation="power off"),
            _ledger("D1", "D", isolation="power off", resources={"cpu": {"reservation": 100}}),
        ]
        if self.load:
            found += [_computing(f"B{number}", "B") for number in (2, 3)]
        return found

    @property
    def places(self) -> Mapping[str, tuple[str, ...]]:
        """Where some guests must be, so that the figure is the same each time."""
        if (self.deed, self.host, len(self.hosts)) != (Deed.KILL, "A", _LEAST):
            return {}
        return {SERVER: ("A", "C", "D"), "A2": ("A", "B"), "A3": ("A", "D")}

    @property
    def datastores(self) -> Mapping[str, tuple[str, ...]]:
        """Beside the one that all share. Who is connected to most becomes master."""
        return {"A": ("one", "two"), "B": ("one",)}

    @property
    def struck(self) -> list[str]:
        """Guests whose primaries are on that host at the start."""
        return [guest.name for guest in self.guests if guest.host == self.host]


def make_plan(
    hosts: int, kill: str | None, isolate: str | None, maintenance: str | None, load: bool
) -> HostsPlan:
    """Raises `UsageError` for what cannot be shown."""
    if not _LEAST <= hosts <= _MOST:
        raise UsageError(f"{hosts} hosts: give {_LEAST} to {_MOST}")
    names = tuple(string.ascii_uppercase[:hosts])
    given = {Deed.KILL: kill, Deed.ISOLATE: isolate, Deed.MAINTENANCE: maintenance}
    chosen = [(deed, host) for deed, host in given.items() if host is not None] or [
        (Deed.KILL, "A")
    ]
    if len(chosen) > 1:
        raise UsageError("one thing happens to one host: choose one of them")
    ((deed, host),) = chosen
    if host not in names:
        raise UsageError(f"there is no host {host!r}: there are {', '.join(names)}")
    return HostsPlan(names, deed, host, load)


def _ledger(name: str, host: str, **settings: Any) -> PlannedGuest:
    arguments = [f"--lines={LEDGER_LINES}", f"--pause={_PAUSE}"]
    file = {"image": "ledger", "arguments": arguments, **settings}
    return PlannedGuest(name, host, file, {"disk": LEDGER_LINES * _WRITE})


def _computing(name: str, host: str) -> PlannedGuest:
    return PlannedGuest(name, host, {"image": "preempt", "arguments": ["--work=4000000000"]})
