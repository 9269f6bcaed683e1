"""A protected guest as two real processes, with a network between them that can be broken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP
from types import TracebackType
from typing import Any, NamedTuple

from vlockstep.errors import UsageError
from vlockstep.host.attach import DiskSpec
from vlockstep.machine.registers import Registers
from vlockstep.program.tracebacks import hide
from vlockstep.sim.sides import SIDES, Direction, Side, check_side
from vlockstep.supervise.spec import ReplicaSpec, TestSpec, TimingSpec
from vlockstep.supervise.specfile import to_toml
from vlockstep.testing.process import TIMEOUT, ReplicaProcess, Snapshot
from vlockstep.testing.relay import Relay
from vlockstep.testing.words import words

__tracebackhide__ = hide

DISK_SIZE = 1 << 20


class Statuses(NamedTuple):
    """Exit statuses of the processes; -9 if SIGKILL ended one."""

    primary: int
    secondary: int


class Pair:
    """A guest on a primary and a secondary, in `directory`, which gets all their files.

    A SIDE is "primary" or "secondary": the process, by the role it began in. A DIRECTION is
    "to_primary", "to_secondary" or "both".

    - what happens to it: `crash`, `pause`, `resume` (SIDE); `cut` (DIRECTION), `heal`, `drop`;
      `switchover`; `go` from where `stop_at` made the guest wait
    - more replicas: `join`, `receive`, `restart`, `migrate`; each gets a name, which is a SIDE from
      then on
    - waiting: `wait_live`, `wait_reached` (SIDE), `wait_finished`
    - what became of it: `transcript`, `disk`, `log`, `events`, `registers`, `memory_digest`,
      `memory` (SIDE)

    `LocalPair` has the same methods, but those of `stop_at` and those for more replicas; it is
    driven step by step.

    `disks` gives the size in bytes or the file of each of the guest's block devices; without it
    every one the manifest declares is `DISK_SIZE` bytes. Both replicas use the same file, or with
    `local` each one its own copy. `memory` is in MiB, `delay` in seconds in each direction;
    without `logs` they keep no log files. A `reachable` secondary listens, too, so that others can
    join there once it is live. After `misses` times `heartbeat_ms` without a word a
    replica counts as dead, one that was killed at once; by default that takes 2 s, as a test shares
    its CPUs with others.
    `crash_at` and `pause_at` are where the primary sends itself SIGKILL or SIGSTOP, `stop_at`
    where both guests wait for `go`, `diverge_at` where a bit of the secondary's RAM is flipped, to
    be found at the next digest of it (see `vlockstep primary --help`).

    `specs` are what the processes are made from, and may be replaced before one starts, which then
    reads it from its file, SIDE.toml. The other options are for the commands, and `under` names, by
    process, a command that starts it, as env(1) would. In the run directory `run` the processes
    have the names "primary" and "secondary".

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
        logs: bool = True,
        keys: bool = False,
        reachable: bool = False,
        heartbeat_ms: int = 50,
        misses: int = 40,
        delay: float = 0.0,
        crash_at: str | None = None,
        pause_at: str | None = None,
        stop_at: Sequence[str] = (),
        diverge_at: str | None = None,
        primary_options: Sequence[object] = (),
        secondary_options: Sequence[object] = (),
        under: Mapping[str, Sequence[object]] | None = None,
    ) -> None:
        self.guest = guest
        self.arguments = words(arguments, "arguments")
        self.directory = directory
        self.keys = directory / "keys" if keys else None
        """The keys of whatever is started from now on."""
        self.endpoint = ""
        """Where the primary listens, once it does."""
        directory.mkdir(parents=True, exist_ok=True)
        self._files = self._make_disks(_declared(guest) if disks is None else disks, local)
        if self.keys is not None:
            from vlockstep.wire import keys as key_files

            key_files.create(self.keys)
        stops = tuple(words(stop_at, "stop_at"))
        tests = {
            "primary": TestSpec(crash_at, pause_at, stops),
            "secondary": TestSpec(stop=stops, diverge=diverge_at),
        }
        self.specs: dict[Side, ReplicaSpec] = {
            side: ReplicaSpec(
                str(guest),
                role=side,
                name=side,
                arguments=tuple(self.arguments),
                memory=memory,
                disks=tuple(DiskSpec(*file, local) for file in self._files[side].items()),
                console=self.console,
                log=self.log(side) if logs else None,
                arbiter=self.arbiter,
                endpoint="tcp://127.0.0.1:0",
                reached_at=self.endpoint_of(side) if reachable and side == "secondary" else None,
                timing=TimingSpec(heartbeat_ms, misses),
                run_directory=directory / "run",
                test=tests[side],
            )
            for side in SIDES
        }
        """Without guest, keys, and where the secondary connects to."""
        self._options = {"primary": primary_options, "secondary": secondary_options}
        self.under = dict(under or {})
        """By process, the command under which it is started from now on."""
        self._processes: dict[str, ReplicaProcess] = {}
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
        self._spawn_primary()
        self.start_secondary()
        self._listening()
        for side in SIDES:
            self.process(side).wait_event("started")

    def start_primary(self, *options: object) -> None:
        """Start the primary, with more options, and wait until it listens."""
        self._spawn_primary(*options)
        self._listening()

    def start_secondary(self, *options: object, guest: str | Path | None = None) -> None:
        """Start a secondary, with more options or another image, in the place of any before."""
        self._spawn("secondary", options, guest, endpoint=self.relay.endpoint)

    def join(
        self,
        name: str,
        *options: object,
        to: str = "primary",
        guest: str | Path | None = None,
        wait: bool = True,
    ) -> ReplicaProcess:
        """Start another replica, which joins the guest that runs at the process `to`, and wait
        until it is a member. It keeps no log, and can be joined itself once it is live."""
        before = self.process(to).count("joined")
        joining = self._newcomer(name, options, guest, endpoint=self.endpoint_of(to))
        if wait:
            self.process(to).wait_count("joined", before + 1)
        return joining

    def receive(self, name: str, *options: object) -> ReplicaProcess:
        """Start another replica, which waits for the guest to be moved to it."""
        waiting = self._newcomer(name, options, None, awaits_at=self.endpoint_of(name))
        waiting.wait_event("waiting")
        return waiting

    def restart(self, name: str, *options: object) -> ReplicaProcess:
        """Start another primary of the guest, which starts it again when the lease of its owner has
        run out."""
        changes = {"name": name, "arguments": tuple(self.arguments), "log": None}
        return self._execute(name, "primary", options, None, changes | {"test": TestSpec()})

    def migrate(self, to: str, *options: object, source: str = "primary") -> ReplicaProcess:
        """Start `vlockstep migrate`, which moves the guest from one process to another one, that
        waits for it. Its lines of JSON are its events."""
        if "migrate" in self._processes:
            self._processes["migrate"].close()
        run = self.specs["secondary"].run_directory
        arguments = ["migrate", source, self.endpoint_of(to), "--run-dir", run, "--json", *options]
        self._processes["migrate"] = ReplicaProcess("migrate", arguments, self._explain)
        return self._processes["migrate"]

    def endpoint_of(self, name: str) -> str:
        """Where the process listens; the secondary, if the pair is `reachable`."""
        return self.endpoint if name == "primary" else f"ipc://{self.directory / name}.socket"

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

    def crash(self, side: str = "primary") -> None:
        """SIGKILL. Returns when the process is gone."""
        self.process(side).signal(SIGKILL)
        self.process(side).wait_exit()

    def pause(self, side: str = "primary") -> None:
        """SIGSTOP. Returns when the process stands still."""
        process = self.process(side)
        before = process.stops
        process.signal(SIGSTOP)
        process.wait_paused(before + 1)

    def resume(self, side: str = "primary") -> None:
        """SIGCONT, after `pause` or `pause_at`."""
        self.process(side).signal(SIGCONT)

    def cut(self, direction: Direction = "both") -> None:
        """Deliver nothing more between them in this direction. The connection stays open."""
        self.relay.cut(direction)

    def heal(self) -> None:
        """Deliver again, first what has waited."""
        self.relay.heal()

    def drop(self) -> None:
        """Close the connection between them; they connect again."""
        assert self.relay.drop(), "there was no connection to drop"

    def switchover(self, wait: float = 10) -> int:
        """Ask the pair to swap roles; the generation that rules then. `HostError` says why not."""
        from vlockstep.supervise.operator import request_switchover
        from vlockstep.wire import keys

        party = keys.Party.OPERATOR
        loaded = keys.load(self.keys, party) if self.keys is not None else None
        return request_switchover(self.endpoint, loaded, wait)

    def stop(self, side: str = "primary") -> None:
        """End the guest, on all its replicas; by asking this one."""
        from vlockstep.supervise.client import GuestClient
        from vlockstep.supervise.rundir import RunDirectory

        with closing(GuestClient(RunDirectory(self.directory / "run"), side)) as guest:
            guest.ask("stop")

    def go(self, side: str | None = None) -> None:
        """Let the guest, of both replicas or of one, go on from where `stop_at` made it wait, or
        will. Does nothing to a process that has ended."""
        for name in [side] if side else SIDES:
            self.process(name).go()

    # Waiting; see `ReplicaProcess`

    def wait_live(self, side: str = "secondary", timeout: float = TIMEOUT) -> int:
        """The first generation as which it goes on alone, or as which it took over."""
        return self.process(side).wait_live(timeout)

    def wait_reached(self, side: str = "primary", timeout: float = TIMEOUT) -> Snapshot:
        """The guest's state at the next place of `stop_at`, where it waits for `go`.

        A secondary gets to entry N only when the primary's guest has gone on from there.
        """
        return self.process(side).wait_reached(timeout)

    def wait_finished(self, timeout: float = TIMEOUT) -> Statuses:
        """The exit statuses of both."""
        primary = self.process("primary").wait_exit(timeout)
        return Statuses(primary, self.process("secondary").wait_exit(timeout))

    # What became of them

    @property
    def transcript(self) -> bytes:
        """The guest's console."""
        return self.console.read_bytes()

    def disk(self, name: str = "disk", side: Side = "primary") -> bytes:
        """The content of a block device's file."""
        return self.disk_file(name, side).read_bytes()

    def disk_file(self, name: str = "disk", side: Side = "primary") -> Path:
        return self._files[check_side(side)][name]

    def log(self, side: Side) -> Path:
        """The process's log file."""
        return self.directory / f"{check_side(side)}.vlog"

    def events(self, side: str) -> list[dict[str, Any]]:
        """What the process reported so far, but for its status."""
        return self.process(side).events[:]

    def process(self, side: str) -> ReplicaProcess:
        """Raises `UsageError` if it was not started."""
        if side not in self._processes:
            raise UsageError(f"the {check_side(side)} was not started")
        return self._processes[side]

    def registers(self, side: str) -> Registers:
        """Where the guest was stopped last, or at its end."""
        return self.process(side).snapshot().registers

    def memory_digest(self, side: str) -> bytes:
        """Where the guest was stopped last, or at its end."""
        return self.process(side).snapshot().memory_digest

    def memory(self, side: str, address: int, length: int) -> bytes:
        """Bytes of the guest's RAM, where `stop_at` makes it wait."""
        return self.process(side).memory(address, length)

    # Inside

    def _spawn_primary(self, *options: object) -> None:
        self._spawn("primary", options)

    def _listening(self) -> None:
        self.endpoint = str(self.process("primary").wait_event("waiting")["endpoint"])
        self.relay.forward_to(self.endpoint)

    def _spawn(
        self,
        role: Side,
        options: Sequence[object],
        guest: str | Path | None = None,
        **changes: Any,
    ) -> None:
        changes |= {"arguments": tuple(self.arguments)}
        self._execute(role, role, [*self._options[role], *options], guest, changes)

    def _newcomer(
        self, name: str, options: Sequence[object], guest: str | Path | None, **changes: Any
    ) -> ReplicaProcess:
        changes |= {"name": name, "log": None, "test": TestSpec()}
        if "awaits_at" not in changes:
            changes["reached_at"] = self.endpoint_of(name)
        return self._execute(name, "secondary", options, guest, changes)

    def _execute(
        self,
        name: str,
        role: Side,
        options: Sequence[object],
        guest: str | Path | None,
        changes: Mapping[str, Any],
    ) -> ReplicaProcess:
        if name in self._processes:
            self._processes[name].close()
        file = self.directory / f"{name}.toml"
        spec = replace(self.specs[role], image=str(guest or self.guest), keys=self.keys, **changes)
        file.write_text(to_toml(spec))
        command = role if spec.awaits_at is None else "receive"
        arguments = [command, file, "--json", *options]
        process = ReplicaProcess(name, arguments, self._explain, self.under.get(name, ()))
        self._processes[name] = process
        return process

    def _make_disks(
        self, disks: Mapping[str, int | Path], local: bool
    ) -> dict[str, dict[str, Path]]:
        files: dict[str, dict[str, Path]] = {role: {} for role in SIDES}
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

    def _explain(self) -> str:
        return "\n\n".join(process.report() for process in self._processes.values())


def _declared(guest: str | Path) -> dict[str, int | Path]:
    """A size for each block device in the image's manifest."""
    from vlockstep.machine.bundled import open_image
    from vlockstep.machine.image import DeviceKind

    devices = open_image(str(guest)).devices
    return {d.name: DISK_SIZE for d in devices if d.kind is DeviceKind.BLOCK}
