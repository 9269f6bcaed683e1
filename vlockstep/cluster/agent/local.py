"""The replicas of a host, as processes that outlive the agent: it finds them again by their control
sockets, in the run directory that is the host's own.

    STATE/run/            the run directory
    STATE/guests/NAME/    spec.toml, what the replica was started from; order.json, by which order;
                          output.txt, what it said
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import vlockstep
from vlockstep.arbiter import DirectoryArbiter
from vlockstep.cluster.agent.asks import Asks
from vlockstep.cluster.guestfile import DEFAULT_GROUP, GuestFile, Restart, parse
from vlockstep.cluster.model import Role
from vlockstep.cluster.plain import from_plain, to_plain
from vlockstep.cluster.records import Begin, End, Life, Order, ReplicaReport
from vlockstep.errors import HostError, UsageError, VlockstepError
from vlockstep.files.processes import identity, processor_time, runs
from vlockstep.host.attach import DiskSpec
from vlockstep.net.attach import NicSpec
from vlockstep.supervise.client import Gone, GuestClient
from vlockstep.supervise.rundir import RunDirectory
from vlockstep.supervise.spec import ReplicaSpec, TimingSpec
from vlockstep.supervise.specfile import to_toml

SPEC, ORDER, OUTPUT = "spec.toml", "order.json", "output.txt"
ARBITER, CONSOLE, RESUME = "arbiter", "console.txt", "resume"
_OUTPUT_LIMIT = 1 << 20
_SAID = re.compile(r"vlockstep: (?:\d\d:\d\d:\d\d )?(.+)")
"""What a replica tells people, at which time."""
_GUEST_ENDED = re.compile(r"the guest has ended with status (\d+)")
_COMMANDS = {
    Begin.BOOT: "primary",
    Begin.RESUME: "primary",
    Begin.JOIN: "secondary",
    Begin.RECEIVE: "receive",
}
_ANSWER = 0.5
"""Seconds that a guest has to tell its status."""
_SAMPLE_SECONDS = 30.0
"""How often it is asked what its guest writes."""
_IDLE = 0.05
"""Of a processor; a guest that uses less waits for something."""
_OF_EVENTS = {"event", "time", "revision"}
_HERTZ = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_MIB = 1 << 20
_ROLES = {"primary": Role.PRIMARY, "secondary": Role.SECONDARY}


@dataclass(frozen=True)
class HostSetting:
    """What replicas need of their host. `mips` is how much CPU one processor is; `fence` the lease
    in the records of guests, in milliseconds; `switch` the endpoint for their NICs."""

    address: str
    datastores: Mapping[str, Path]
    mips: float
    fence: int
    cpu_limit: str | None = None
    switch: str | None = None
    keys: Path | None = None
    timing: TimingSpec = field(default_factory=TimingSpec)


@dataclass
class _Child:
    """A replica's process. `process` is None if an earlier agent has started it."""

    order: Order
    pid: int
    identity: str
    since: float
    process: subprocess.Popen[bytes] | None = None
    client: GuestClient | None = None
    status: Mapping[str, Any] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    finished: int | None = None
    """The status with which its guest has ended."""
    problem: str = ""
    ended: bool = False
    ticks: tuple[float, int] | None = None
    cpu: float = 0
    idle: bool = True
    dirty: float = 0
    sampler: GuestClient | None = None
    """Waits for how much the guest writes."""
    sample_at: float = 0
    resumed: int | None = None
    unresumed: str = ""
    migration: Mapping[str, Any] = field(default_factory=dict)


class LocalGuests:
    """Makes what it needs in the directory `state`."""

    def __init__(self, state: Path, setting: HostSetting) -> None:
        self._state = state
        self._setting = setting
        self._run = RunDirectory(state / "run")
        self._children: dict[str, _Child] = {}
        self._asks = Asks(self._run)
        self._find()

    def _find(self) -> None:
        """What an earlier agent of this host has started."""
        for folder in sorted((self._state / "guests").glob("*/")):
            with suppress(OSError, ValueError, KeyError, VlockstepError):
                told = json.loads((folder / ORDER).read_text())
                order = from_plain(Order, told["order"])
                self._children[order.guest] = _Child(
                    order, told["pid"], told["identity"], told["since"]
                )

    def look(self) -> dict[str, ReplicaReport]:
        for guest, child in self._children.items():
            if not child.ended:
                self._look_at(guest, child)
        return {guest: self._report(guest, child) for guest, child in self._children.items()}

    def order(self, guest: str) -> Order | None:
        """By which its replica was started here last."""
        child = self._children.get(guest)
        return None if child is None else child.order

    def start(self, order: Order) -> None:
        file = parse(order.file)
        folder = self._folder(order)
        if not folder.is_dir():
            raise HostError(f"the guest's folder {folder} is not there")
        own = self._state / "guests" / order.guest
        try:
            own.mkdir(parents=True, exist_ok=True)
            spec = own / SPEC
            spec.write_text(to_toml(self._spec(order, file, folder)))
            output = own / OUTPUT
            with output.open("wb") as said:
                process = subprocess.Popen(
                    [sys.executable, "-m", "vlockstep", _COMMANDS[order.begin], str(spec)],
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=said,
                    env=environment(),
                    start_new_session=True,
                    cwd=own,
                )
            since = time.time()
            child = _Child(order, process.pid, identity(process.pid), since, process)
            told = {
                "order": to_plain(order),
                "pid": child.pid,
                "identity": child.identity,
                "since": since,
            }
            (own / ORDER).write_text(json.dumps(told))
        except OSError as error:
            raise HostError(f"cannot start a replica in {own}: {error}") from error
        old = self._children.get(order.guest)
        if old is not None and old.client is not None:
            old.client.close()
        self._children[order.guest] = child
        self._asks.forget(order.guest)

    def end(self, guest: str, how: End, reason: str) -> None:
        child = self._children[guest]
        if how is End.POWER_OFF and child.client is not None:
            with suppress(VlockstepError):
                child.client.send("stop", reason=reason)
                return
        number = signal.SIGKILL if how is End.KILL else signal.SIGTERM
        with suppress(ProcessLookupError):
            if self._alive(child):
                os.kill(child.pid, number)

    def move(self, guest: str, endpoint: str, mover: int) -> None:
        self._asks.move(guest, endpoint, mover)

    def swap(self, guest: str, mover: int) -> None:
        self._asks.swap(guest, mover)

    def call_off(self, guest: str) -> None:
        with suppress(VlockstepError):
            client = GuestClient(self._run, guest)
            try:
                client.ask("cancel-migration", seconds=_ANSWER)
            finally:
                client.close()

    def hold(self, guest: str, hold: bool) -> None:
        client = self._children[guest].client
        if client is not None:
            with suppress(VlockstepError):
                client.send("hold", hold=hold)

    def close(self) -> None:
        """The replicas go on."""
        for child in self._children.values():
            if child.client is not None:
                child.client.close()

    # Inside

    def _folder(self, order: Order) -> Path:
        datastore = self._setting.datastores.get(order.datastore)
        if datastore is None:
            raise UsageError(f"this host has no datastore {order.datastore!r}")
        return datastore / order.folder

    def _spec(self, order: Order, file: GuestFile, folder: Path) -> ReplicaSpec:
        setting = self._setting
        if file.nics and setting.switch is None:
            raise UsageError("this host has no network for guests")
        path = "/" in file.image or file.image.endswith(".hvt")
        moved = _moved(folder / ARBITER)
        here = f"tcp://{setting.address}:0"
        rules = order.begin.rules
        return ReplicaSpec(
            image=str(folder / file.image) if path else file.image,
            role="primary" if rules else "secondary",
            name=order.guest,
            arguments=file.arguments if rules else (),
            memory=file.memory if rules else ReplicaSpec.memory,
            cpu=file.cpu if rules else ReplicaSpec.cpu,
            cpu_limit=setting.cpu_limit,
            engine=file.engine if rules else ReplicaSpec.engine,
            disks=tuple(
                DiskSpec(
                    name,
                    Path(moved.get(name, folder / disk.path)),
                    block_size=disk.block_size,
                )
                for name, disk in file.disks.items()
            ),
            nics=tuple(
                NicSpec(
                    name,
                    f"switch:{setting.switch}",
                    mac=nic.mac,
                    group="" if nic.group == DEFAULT_GROUP else nic.group,
                    mtu=nic.mtu,
                )
                for name, nic in file.nics.items()
            ),
            console=folder / CONSOLE,
            arbiter=folder / ARBITER,
            endpoint=here if rules else order.join or ReplicaSpec.endpoint,
            reached_at=here if order.begin is Begin.JOIN else None,
            awaits_at=here if order.begin is Begin.RECEIVE else None,
            keys=setting.keys,
            secondaries=0 if rules else ReplicaSpec.secondaries,
            lease=setting.fence if rules else 0,
            resume=folder / RESUME if rules and file.restart is Restart.RESUME else None,
            resumes=order.begin is Begin.RESUME and file.restart is Restart.RESUME,
            hold=order.hold,
            timing=setting.timing,
            run_directory=self._run.path,
        )

    def _alive(self, child: _Child) -> bool:
        if child.process is not None:
            return child.process.poll() is None
        return runs(child.pid, child.identity) is True

    def _look_at(self, guest: str, child: _Child) -> None:
        alive = self._alive(child)
        try:
            if child.client is None and alive:
                self._follow(guest, child)
            if child.client is not None:
                self._listen(child)
        except VlockstepError:  # it has gone, or does not answer now
            if child.client is not None:
                child.client.close()
            child.client = None
        if not alive:
            self._ended(guest, child)
            return
        self._measure(child)
        if child.status.get("role") == "primary":
            self._sample(guest, child)

    def _follow(self, guest: str, child: _Child) -> None:
        client = GuestClient(self._run, guest, _ANSWER)
        try:
            client.ask("events", seconds=_ANSWER, after=0)
            if client.hello.get("pid") != child.pid:
                raise HostError("another process has its name")
        except VlockstepError:
            client.close()
            raise
        child.client = client

    def _listen(self, child: _Child) -> None:
        client = child.client
        assert client is not None
        client.send("status")
        deadline = time.monotonic() + _ANSWER
        while True:
            said = client.read(max(0.0, deadline - time.monotonic()))
            if said is None:
                raise HostError("it does not answer")
            if said.get("answer") == "status":
                child.status = said
                return
            self._heard(child, said)

    def _heard(self, child: _Child, said: Mapping[str, Any]) -> None:
        match said.get("event"):
            case "finished":
                child.finished = said["status"]
                child.problem = said["reason"]
            case "stopped" | "left":
                child.problem = said["reason"]
            case "migrating":
                child.migration = {key: said[key] for key in said.keys() - _OF_EVENTS}
            case "resuming":
                child.resumed = said["entries"]
            case "not-resumed":
                child.unresumed = said["reason"]
            case "diverged":
                child.problem = "its guest diverged from the primary's"

    def _ended(self, guest: str, child: _Child) -> None:
        child.ended = True
        self._asks.wait(guest)
        self._end_sample(child)
        if child.client is not None:
            with suppress(Gone, VlockstepError):
                while (said := child.client.read(0)) is not None:
                    self._heard(child, said)
            child.client.close()
            child.client = None
        if child.finished is None and not child.problem:
            status = None if child.process is None else child.process.returncode
            words = self._last_words(guest, status)
            if ended := _GUEST_ENDED.fullmatch(words):
                child.finished = int(ended[1])
            else:
                child.problem = words

    def _last_words(self, guest: str, status: int | None) -> str:
        """Why it ended, as far as can be known."""
        if status is not None and status < 0:
            return f"its process was ended by {signal.Signals(-status).name}"
        with suppress(OSError):
            path = self._state / "guests" / guest / OUTPUT
            lines = path.read_bytes()[-_OUTPUT_LIMIT:].decode(errors="replace").split("\n")
            for line in reversed(lines):
                if said := _SAID.fullmatch(line):
                    return said[1]
        return "its process has gone"

    def _measure(self, child: _Child) -> None:
        now, ticks = time.monotonic(), processor_time(child.pid)
        if child.ticks is None:
            child.ticks = now, ticks
        elif (passed := now - child.ticks[0]) >= 1:
            used = (ticks - child.ticks[1]) / _HERTZ / passed
            child.cpu, child.idle = used * self._setting.mips, used < _IDLE
            child.ticks = now, ticks

    def _sample(self, guest: str, child: _Child) -> None:
        """How much it writes, from time to time; while that cannot be seen it is what it was."""
        now = time.monotonic()
        try:
            if now >= child.sample_at:
                child.sample_at = now + _SAMPLE_SECONDS
                self._end_sample(child)
                child.sampler = GuestClient(self._run, guest, _ANSWER)
                child.sampler.send("writes")
            while child.sampler is not None and (said := child.sampler.read(0)) is not None:
                if said.get("answer") == "writes":
                    child.dirty = round(said["bytes"] / said["seconds"] / _MIB, 3)
                    self._end_sample(child)
        except VlockstepError:
            self._end_sample(child)

    def _end_sample(self, child: _Child) -> None:
        if child.sampler is not None:
            child.sampler.close()
            child.sampler = None

    def _report(self, guest: str, child: _Child) -> ReplicaReport:
        status, asked = child.status, self._asks.of(guest)
        life = Life.RUNNING if status else Life.STARTING
        if child.ended:
            life = Life.ENDED
        nics, disks = status.get("nics", {}), status.get("disks", {})
        return ReplicaReport(
            child.order.attempt,
            life,
            pid=child.pid,
            since=child.since,
            role=_ROLES.get(status.get("role", "")),
            state=status.get("state", ""),
            generation=status.get("generation", 0),
            members=status.get("members", 0),
            endpoint=status.get("endpoint", ""),
            problem=child.problem,
            status=child.finished or 0,
            guest_error=child.finished is not None and bool(child.problem),
            cpu=0 if child.ended else round(child.cpu, 1),
            memory=0 if child.ended else _resident(child.pid),
            dirty=0 if child.ended else child.dirty,
            progress=status.get("exits", 0),
            idle=child.idle,
            traffic=sum(sum(counters.values()) for counters in (*nics.values(), *disks.values())),
            mover=asked.mover,
            moved=asked.moved,
            moving=asked.moving,
            took=asked.took,
            hold=status.get("hold", child.order.hold),
            holding=status.get("holding", False),
            resumed=child.resumed,
            unresumed=child.unresumed,
            lag_ms=status.get("lag_ms"),
            lag_entries=status.get("lag_entries", 0),
            channel_bytes=status.get("channel_bytes", 0),
            disk_bytes=sum(sum(counters.values()) for counters in disks.values()),
            frames=sum(c["received"] + c["sent"] for c in nics.values()),
            migration=child.migration,
            cause=status.get("cause", ""),
            took_over=status.get("took_over", ""),
            silent_ms=status.get("silent_ms"),
        )


def _moved(arbiter: Path) -> Mapping[str, str]:
    """The files of those disks that have moved since the guest was made."""
    return DirectoryArbiter(arbiter, "agent").moved() if arbiter.is_dir() else {}


def _resident(pid: int) -> float:
    """MiB of RAM that a process has touched; 0 where that is not told."""
    with suppress(OSError, ValueError, IndexError):
        return round(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE / _MIB, 1)
    return 0.0


def environment() -> dict[str, str]:
    """In which a replica finds the package that this process has imported."""
    root = str(Path(vlockstep.__file__).parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
