"""One guest that writes all the time moves from one process to another, by vlockstep or by QEMU."""

from __future__ import annotations

import itertools
import json
import re
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import qemu
from benchmarks.link import limited
from benchmarks.qemu import Monitor
from benchmarks.streams import Stream, Watched, watched
from vlockstep.errors import HostError
from vlockstep.supervise.client import GuestClient
from vlockstep.supervise.rundir import RunDirectory
from vlockstep.testing.process import command
from vlockstep.wire import keys

GIVEN_UP = "runs given up"
DAMAGED = "runs that damage its memory"
"""As it finds itself, or so badly that it says nothing any more."""
_numbers = itertools.count()
_SILENCE = 5.0
"""Seconds after which a guest is dead that says nothing."""
_BY_LOG: Mapping[str, object] = {}
_SETTLE = 0.3
"""Seconds for which the guest runs before and after."""


@dataclass(frozen=True)
class Load:
    """MiB of RAM, of what is in use of it, and of what is rewritten without end. `limit` is how
    many bytes the link carries in a second, 0 for as many as it can, and `patience` the seconds
    after which a move is given up."""

    memory: int = 256
    touched: int = 64
    rewritten: int = 8
    limit: int = 0
    patience: float = 60.0

    @property
    def arguments(self) -> list[str]:
        """Of the guest."""
        sizes = f"--touch={self.touched} --rewrite={self.rewritten}"
        return [*sizes.split(), "--rounds=0", "--beat=1"]


PRECOPY = {"method": "precopy"}
"""How it is asked for; with QEMU's default of the downtime, and its throttle."""
UNTHROTTLED = PRECOPY | {"throttle": False}


def by_vlockstep(
    directory: Path, load: Load, encrypted: bool, how: Mapping[str, object] = _BY_LOG
) -> dict[str, float]:
    """Figures of one move, in ms and MB."""
    here = directory / f"move-{next(_numbers)}"
    here.mkdir()
    common: list[object] = ["--arbiter", here / "arbiter", "--run-dir", here / "run", "--json"]
    if encrypted:
        keys.create(here / "keys")
        common += ["--keys", here / "keys"]
    listen = ["--listen", "tcp://127.0.0.1:0"]
    patient = ["--misses", 40]
    with (
        _lone(load, [*common, *patient], listen) as source,
        watched(*command("receive", "writer", *common, *listen, "--name", "there")) as destination,
    ):
        _settle(source.console)
        endpoint = _event(destination.said, "waiting")["endpoint"]
        port = int(endpoint.rpartition(":")[2])
        with limited(port, load.limit) as reached:
            before = len(source.console.lines)
            target = f"tcp://127.0.0.1:{reached}"
            report = _migrate(here / "run", target, load.patience, how)
            if report is None:
                return {GIVEN_UP: 1.0}
            if not _beats_on(destination.console):
                raise RuntimeError(f"the guest has moved, and is silent: {report}")
    found = {
        "in all": report["total_ms"],
        "held at P": report["pause_ms"],
        "gap, as it reports": report["gap_ms"],
        "sent": report["bytes"] / 1e6,
        "rounds": report["rounds"] + 1.0,
        "entries": float(report["entries"]),
        "slowed": float(report["throttle"]),
        **_gaps(source.console, destination.console, before),
    }
    if found.pop(DAMAGED):
        raise RuntimeError("the guest's memory is not what it wrote")
    return found | {"throughput": found["sent"] / found["in all"] * 1e3}


def by_qemu(directory: Path, kernel: Path, load: Load, downtime: int) -> dict[str, float]:
    """The same with QEMU, which may let the guest stand for `downtime` ms."""
    here = directory / f"move-{next(_numbers)}"
    here.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    boot = qemu.command(kernel, " ".join(load.arguments), memory=load.memory)
    monitor = "unix:{},server=on,wait=off"
    target = [*boot, "-qmp", monitor.format(here / "there"), "-incoming", f"tcp:127.0.0.1:{port}"]
    with (
        watched(*boot, "-qmp", monitor.format(here / "here")) as source,
        watched(*target) as destination,
    ):
        _settle(source.console)
        with limited(port, load.limit) as reached, closing(Monitor(here / "here")) as commands:
            before = len(source.console.lines)
            limits = {"max-bandwidth": 1 << 40, "downtime-limit": downtime}
            commands.ask("migrate-set-parameters", **limits)
            commands.ask("migrate", uri=f"tcp:127.0.0.1:{reached}")
            state = commands.migrated(load.patience)
            alive = state["status"] == "completed" and _beats_on(destination.console)
    ram = state["ram"]
    found = {
        "in all": float(state["total-time"]),
        "sent": ram["transferred"] / 1e6,
        "rounds": float(ram["dirty-sync-count"]),
        "throughput": ram["transferred"] / 1e3 / state["total-time"],
    }
    if state["status"] != "completed":
        return found | {GIVEN_UP: 1.0}
    found["gap, as it reports"] = float(state["downtime"])
    if not alive:
        return found | {DAMAGED: 1.0}
    return found | _gaps(source.console, destination.console, before)


@contextmanager
def _lone(load: Load, common: list[object], listen: list[str]) -> Iterator[Watched]:
    """A primary whose only secondary has died."""
    memory = ["--mem", load.memory, "--name", "here"]
    primary = command("primary", "writer", *common, *listen, *memory, "--", *load.arguments)
    with watched(*primary) as source:
        endpoint = _event(source.said, "waiting")["endpoint"]
        with watched(*command("secondary", "writer", *common, "--connect", endpoint)):
            _event(source.said, "started")
        _event(source.said, "alone")
        yield source


def _migrate(
    run: Path, endpoint: str, patience: float, how: Mapping[str, object]
) -> dict[str, Any] | None:
    """What it took; None if a move is given up that need not end."""
    deadline = time.monotonic() + patience
    with closing(GuestClient(RunDirectory(run), "here")) as guest:
        guest.send("migrate", to=endpoint, **how)
        while True:
            try:
                said = guest.read(deadline - time.monotonic())
            except HostError:
                if how == _BY_LOG:
                    raise
                return None
            if said is None and how != _BY_LOG:
                return None
            if said is None:
                raise RuntimeError(f"the guest did not move within {patience:g} s")
            if said.get("answer") == "migrate":
                return said


def _event(stream: Stream, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(stream.wait(f'"event": "{name}"')[1])
    return found


def _settle(console: Stream) -> None:
    """Wait until the guest writes, and a little longer."""
    console.wait("writer touched")
    time.sleep(_SETTLE)
    console.wait("writer round", len(console.lines))


def _beats_on(console: Stream) -> bool:
    """Whether the guest goes on to write."""
    try:
        console.wait("writer", patience=_SILENCE)
    except RuntimeError:
        return False
    time.sleep(_SETTLE)
    return True


_LATELY = re.compile(r"lately=(\d+) us")


def _gaps(here: Stream, there: Stream, before: int) -> dict[str, float]:
    """For how long the guest stood, as who reads its console sees it and by its own clock, in
    milliseconds; and whether it found other memory than it wrote."""
    told = [text for _, text in [*here.lines[before:], *there.lines]]
    longest = max(int(found[1]) for text in told if (found := _LATELY.search(text)))
    damaged = any("does not hold" in text for text in told)
    return {
        DAMAGED: float(damaged),
        "gap, on the console": (there.lines[0][0] - here.lines[-1][0]) * 1e3,
        "gap, by the guest's clock": longest / 1e3,
    }
