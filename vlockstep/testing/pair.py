"""A protected guest as two real processes, with a network between them that can be broken."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP
from types import TracebackType
from typing import Any, Literal, NamedTuple, TypeVar

from vlockstep.machine.registers import Registers
from vlockstep.testing.process import ReplicaProcess, command, environment
from vlockstep.testing.relay import Direction, Relay

DISK_SIZE = 1 << 20
TIMEOUT = 20.0
"""Seconds that a wait takes at most, unless it is told otherwise."""

Which = Literal["primary", "secondary"]
"""A process, by the role it began in."""
_ALONE = re.compile(r"going on alone as generation (\d+)")
_T = TypeVar("_T")


class PairError(AssertionError):
    """A pair did not do what it was waited for."""


class Statuses(NamedTuple):
    """Exit statuses of the processes; -9 if SIGKILL ended one."""

    primary: int
    secondary: int


@dataclass(frozen=True)
class Snapshot:
    """The guest's state where it was stopped, or at its end (`place` is then "end")."""

    place: str
    registers: Registers
    memory_digest: bytes


class Pair:
    """A guest on a primary and a secondary, in `directory`, which gets all their files.

    `disks` gives the size in bytes or the file of each of the guest's block devices; without it
    every one the manifest declares is `DISK_SIZE` bytes. Both replicas use the same file, or with
    `local` each one its own copy. `memory` is in MiB, `delay` in seconds in each direction.
    `crash_at` and `pause_at` are where the primary sends itself SIGKILL or SIGSTOP, `stop_at`
    where both guests wait for `go` (see `vlockstep primary --help`). The other options are for
    the commands.

    As a context manager it is started on entry and closed on exit.
    """

    def __init__(
        self,
        guest: str | Path = "ledger",
        arguments: Sequence[str] = (),
        *,
        directory: Path,
        disks: Mapping[str, int | Path] | None = None,
        local: bool = False,
        memory: int = 64,
        keys: bool = False,
        heartbeat_ms: int = 50,
        delay: float = 0.0,
        crash_at: str | None = None,
        pause_at: str | None = None,
        stop_at: Sequence[str] = (),
        primary_options: Sequence[object] = (),
        secondary_options: Sequence[object] = (),
    ) -> None:
        self.guest = guest
        self.arguments = list(arguments)
        self.directory = directory
        self.keys = directory / "keys" if keys else None
        self.endpoint = ""
        """Where the primary listens, once it does."""
        directory.mkdir(parents=True, exist_ok=True)
        self._files = self._make_disks(_declared(guest) if disks is None else disks, local)
        self._local = local
        common = ["--arbiter", self.arbiter, "--console", self.console, "--heartbeat", heartbeat_ms]
        common += [option for place in stop_at for option in ("--stop-at", place)]
        if self.keys is not None:
            from vlockstep.ft import keys as key_files

            key_files.create(self.keys)
            common += ["--keys", self.keys]
        faults = [("--crash-at", crash_at), ("--pause-at", pause_at)]
        fault = [part for option, place in faults if place for part in (option, place)]
        self._options: dict[str, list[object]] = {
            "primary": [*common, "--mem", memory, *fault, *primary_options],
            "secondary": [*common, *secondary_options],
        }
        self._changed = threading.Condition()
        self._processes: dict[str, ReplicaProcess] = {}
        self._gone: dict[str, int] = {}
        self.relay = Relay(delay)

    @property
    def arbiter(self) -> Path:
        return self.directory / "arbiter"

    @property
    def console(self) -> Path:
        return self.directory / "console.txt"

    # Starting and ending

    def start(self) -> None:
        """Start both processes, and wait until the guest runs protected."""
        self.start_primary()
        self.start_secondary()
        self.wait_event("primary", "started")
        self.wait_event("secondary", "started")

    def start_primary(self, *options: object) -> None:
        """Start the primary, with more options, and wait until it listens."""
        self._spawn("primary", self.guest, ["--listen", "tcp://127.0.0.1:0", *options])
        self.endpoint = str(self.wait_event("primary", "waiting")["endpoint"])
        self.relay.forward_to(self.endpoint)

    def start_secondary(self, *options: object, guest: str | Path | None = None) -> None:
        """Start a secondary, with more options or another image, in the place of any before."""
        self._spawn("secondary", guest or self.guest, ["--connect", self.relay.endpoint, *options])

    def close(self) -> None:
        """Kill what still runs. Raises AssertionError if something is left then."""
        for process in self._processes.values():
            process.close()
        self.relay.close()

    def __enter__(self) -> Pair:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # What happens to them

    def crash(self, which: Which = "primary") -> None:
        """SIGKILL. Returns when the process is gone."""
        self.process(which).signal(SIGKILL)
        self.wait_exit(which)

    def pause(self, which: Which = "primary") -> None:
        """SIGSTOP. Returns when the process stands still."""
        before = self.process(which).stops
        self.process(which).signal(SIGSTOP)
        self.wait_paused(which, before + 1)

    def resume(self, which: Which = "primary") -> None:
        """SIGCONT, after `pause` or `pause_at`."""
        self.process(which).signal(SIGCONT)

    def cut(self, direction: Literal["both", "to_primary", "to_secondary"] = "both") -> None:
        """Deliver nothing more between them in this direction. The connection stays open."""
        self.relay.cut(Direction(direction))

    def heal(self) -> None:
        """Deliver again, first what has waited."""
        self.relay.heal()

    def drop(self) -> None:
        """Close the connection between them; they connect again."""
        assert self.relay.drop(), "there was no connection to drop"

    def switchover(self, wait: int = 10) -> int:
        """Ask the pair to swap roles; the generation that rules then. `PairError` says why not."""
        keys = ["--keys", self.keys] if self.keys is not None else []
        done = subprocess.run(
            command("switchover", self.endpoint, "--json", "--wait", wait, *keys),
            capture_output=True,
            text=True,
            env=environment(),
            timeout=wait + TIMEOUT,
        )
        if done.returncode:
            raise PairError(self._with_reports(done.stderr.strip()))
        return int(json.loads(done.stdout)["generation"])

    def go(self, which: Which | None = None) -> None:
        """Let the guest, of both replicas or of one, go on from where `stop_at` made it wait."""
        for name in [which] if which else list(self._processes):
            if self._processes[name].exit_status is None:
                self._gone[name] = self._gone.get(name, 0) + 1
                self._processes[name].send_line()

    # Waiting. Each wait ends with `PairError` after `timeout` seconds, or as soon as it is in vain

    def wait_event(
        self, which: Which, event: str, timeout: float = TIMEOUT, **details: object
    ) -> dict[str, Any]:
        """The first event of that name with these details."""
        what = f"{event!r} {details or ''}"
        return self._wait(which, what, timeout, lambda p: p.find(event, **details))

    def wait_live(self, which: Which = "secondary", timeout: float = TIMEOUT) -> int:
        """The generation as which it goes on without the other, or after a switchover."""
        return self._wait(which, "going live", timeout, _live_as)

    def wait_reached(self, which: Which = "primary", timeout: float = TIMEOUT) -> Snapshot:
        """The guest's state at the next place of `stop_at`, where it waits for `go`."""

        def find(process: ReplicaProcess) -> Snapshot | None:
            reached = [_snapshot(e) for e in process.events if e["event"] == "reached"]
            return next(iter(reached[self._gone.get(which, 0) :]), None)

        return self._wait(which, "reaching its place", timeout, find)

    def wait_paused(self, which: Which = "primary", times: int = 1) -> None:
        """Until SIGSTOP has stopped it so many times."""
        self._wait(which, "SIGSTOP", TIMEOUT, lambda p: True if p.stops >= times else None)

    def wait_exit(self, which: Which, timeout: float = TIMEOUT) -> int:
        """Its exit status."""
        return self._wait(which, "its end", timeout, lambda p: p.exit_status)

    def wait_finished(self, timeout: float = TIMEOUT) -> Statuses:
        """The exit statuses of both."""
        return Statuses(self.wait_exit("primary", timeout), self.wait_exit("secondary", timeout))

    # What became of them

    @property
    def transcript(self) -> bytes:
        """The guest's console."""
        return self.console.read_bytes()

    def disk(self, name: str = "disk", which: Which = "primary") -> bytes:
        """The content of a block device's file."""
        return self._files[which][name].read_bytes()

    def log(self, which: Which) -> Path:
        """The process's log file."""
        return self.directory / f"{which}.vlog"

    def events(self, which: Which) -> list[dict[str, Any]]:
        """What the process reported so far, but for its status."""
        with self._changed:
            return self.process(which).events[:]

    def process(self, which: Which) -> ReplicaProcess:
        return self._processes[which]

    def registers(self, which: Which) -> Registers:
        """Where the guest was stopped last, or at its end."""
        return self._last(which).registers

    def memory_digest(self, which: Which) -> bytes:
        """Where the guest was stopped last, or at its end."""
        return self._last(which).memory_digest

    # Inside

    def _spawn(self, role: Which, guest: str | Path, options: Sequence[object]) -> None:
        if role in self._processes:
            self._processes[role].close()
        blocks = [
            part
            for name, file in self._files[role].items()
            for part in ("--block", f"{name}={file}{',local' * self._local}")
        ]
        arguments = [role, guest, *self._options[role], *blocks, "--log", self.log(role), "--json"]
        arguments += [*options, "--", *self.arguments] if role == "primary" else options
        self._processes[role] = ReplicaProcess(role, arguments, self._changed)

    def _make_disks(
        self, disks: Mapping[str, int | Path], local: bool
    ) -> dict[str, dict[str, Path]]:
        files: dict[str, dict[str, Path]] = {"primary": {}, "secondary": {}}
        for role in files:
            for name, disk in disks.items():
                if not local and isinstance(disk, Path):
                    files[role][name] = disk
                    continue
                file = self.directory / (f"{role}-{name}.img" if local else f"{name}.img")
                file.write_bytes(disk.read_bytes() if isinstance(disk, Path) else b"")
                if isinstance(disk, int):
                    with file.open("r+b") as sparse:
                        sparse.truncate(disk)
                files[role][name] = file
        return files

    def _last(self, which: Which) -> Snapshot:
        for event in reversed(self.events(which)):
            if "registers" in event:
                return _snapshot(event)
        raise PairError(self._with_reports(f"the {which}'s guest was stopped nowhere"))

    def _wait(
        self,
        which: Which,
        what: str,
        timeout: float,
        find: Callable[[ReplicaProcess], _T | None],
    ) -> _T:
        process = self.process(which)
        deadline = time.monotonic() + timeout
        with self._changed:
            while (found := find(process)) is None:
                left = deadline - time.monotonic()
                if left <= 0:
                    reason = f"not within {timeout:g} s"
                elif process.exit_status is not None:
                    reason = f"it exited with {process.exit_status}"
                else:
                    self._changed.wait(left)
                    continue
                raise PairError(self._with_reports(f"waited for {what} of the {which}: {reason}"))
        return found

    def _with_reports(self, text: str) -> str:
        return "\n\n".join([text, *(p.report() for p in self._processes.values())])


def _declared(guest: str | Path) -> dict[str, int | Path]:
    """A size for each block device in the image's manifest."""
    from vlockstep.machine.bundled import open_image
    from vlockstep.machine.image import DeviceKind

    devices = open_image(str(guest)).devices
    return {d.name: DISK_SIZE for d in devices if d.kind is DeviceKind.BLOCK}


def _live_as(process: ReplicaProcess) -> int | None:
    for event in process.events:
        if event["event"] == "live":
            return int(event["generation"])
        alone = _ALONE.search(event.get("text", "")) if event["event"] == "notice" else None
        if alone:
            return int(alone[1])
    return None


def _snapshot(event: dict[str, Any]) -> Snapshot:
    registers = {name: int(value, 16) for name, value in event["registers"].items()}
    digest = bytes.fromhex(event["memory_digest"])
    return Snapshot(event.get("place", "end"), Registers(registers), digest)
