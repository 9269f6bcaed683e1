"""A pair in one process and in virtual time, driven step by step.

The replicas are the ones that ship: `Replica` with its protocol objects and a real machine each.
Only their host is simulated: clocks, network, arbiter and disks. Guests have threads, since the
engine cannot be left in the middle of an exit, but only one thread runs at any time, and a step is
over when the guest waits again. Equal seeds and equal calls give equal executions.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from vlockstep.errors import VlockstepError
from vlockstep.ft.faults import Fault, Place
from vlockstep.ft.host import Setting
from vlockstep.ft.outputs import Inputs
from vlockstep.ft.primary import Primary
from vlockstep.ft.protocol import NEVER, Claim, Verdict
from vlockstep.ft.replica import Replica
from vlockstep.ft.timing import SECOND, Timing
from vlockstep.machine.boot import check_devices
from vlockstep.machine.bundled import open_image
from vlockstep.machine.config import MIB, BlockConfig, GuestConfig
from vlockstep.machine.image import DeviceKind
from vlockstep.machine.machine import Machine
from vlockstep.machine.position import Position
from vlockstep.machine.registers import Registers
from vlockstep.machine.world import Outcome
from vlockstep.replay.live import Continuation, NetDevice
from vlockstep.replay.simulated import SimulatedWorld
from vlockstep.testing.shared import SharedConsole, SharedDisk, Watched
from vlockstep.testing.stepping import GuestThread, QuietCondition

_NETWORK_DELAY = 50_000
_STEP_TIME = 20_000
_ARBITER_DELAY = 100_000
_START = SECOND


class _Crashed(BaseException):
    """A fault struck."""


class LocalReplica:
    """One side of a `LocalPair`, and the `Host` of its replica."""

    def __init__(self, pair: LocalPair, name: str, setting: Setting) -> None:
        self.name = name
        self.events: list[dict[str, Any]] = []
        self.crashed = False
        self.paused = False
        self._pair = pair
        self._woken = False
        self._guest = GuestThread()
        self._conditions: list[threading.Condition] = []
        self.replica = Replica(setting, self, name)

    # For tests

    @property
    def alive(self) -> bool:
        """It may still do something."""
        return not self.crashed and not self.paused and self.replica.result is None

    @property
    def state(self) -> str:
        return self.replica.role.state.name

    @property
    def generation(self) -> int:
        return self.replica.role.generation

    @property
    def live(self) -> bool:
        """Whether it may make outputs."""
        return self.state in ("PROTECTED", "ALONE", "HOLDING", "FINISHING") or (
            self.state == "FINISHED" and isinstance(self.replica.role, Primary)
        )

    @property
    def outcome(self) -> Outcome | VlockstepError | None:
        return self.replica.result

    @property
    def machine(self) -> Machine:
        assert self.replica.machine is not None, f"{self.name} has no guest yet"
        return self.replica.machine

    @property
    def position(self) -> Position:
        return self.machine.position

    def registers(self) -> Registers:
        """Of the guest where it stands, or where it ended."""
        return self.machine.outcome.registers if self.machine.outcome else self.machine.registers()

    def memory_digest(self) -> bytes:
        if self.machine.outcome:
            return self.machine.outcome.memory_digest
        return self.machine.memory.digest()

    def happened(self, event: str) -> bool:
        return self.count(event) > 0

    def count(self, event: str) -> int:
        return sum(e["event"] == event for e in self.events)

    # Driving

    def can_step(self) -> bool:
        return self.alive and self._guest.can_step()

    def step(self) -> None:
        self._woken = True
        self.do(self._guest.step)

    def do(self, action: Callable[[], None]) -> None:
        """Let the replica do something, unless it is gone, and let its guest react."""
        if not self.alive:
            return
        try:
            action()
            self._guest.settle()
            while self._woken and not self.crashed and self.replica.result is None:
                self._woken = False
                self.replica.turn()
                self._guest.settle()
        except _Crashed:
            self.crashed = True
        if self.crashed:
            self._pair.crash(self.name)
        if self.replica.result is not None:
            self.replica.close()

    def deadline(self) -> int:
        return self.replica.deadline() if self.alive else NEVER

    def close(self) -> None:
        self._guest.kill(self._conditions)
        self.replica.close()
        if self.replica.machine is not None:
            self.replica.machine.close()

    def strike(self) -> None:
        self.crashed = True
        raise _Crashed

    # Host

    def now(self) -> int:
        return self._pair.now

    def send(self, data: bytes, peer: bytes) -> bool:
        return self._pair.carry(self, data)

    def claim(self, claim: Claim) -> None:
        self._pair.judge(self, claim)

    def inputs(
        self,
        nics: Mapping[int, NetDevice],
        pause: Callable[[], None],
        start: Continuation,
    ) -> Inputs:
        return self._pair.inputs(pause, start)

    def launch(self, run: Callable[[], None]) -> None:
        self._guest.launch(run, self.machine)

    def condition(self) -> threading.Condition:
        condition = QuietCondition(self._guest)
        self._conditions.append(condition)
        return condition

    def wake(self) -> None:
        self._woken = True

    def hurry(self) -> None:
        self.wake()

    def look_around(self, place: str, machine: Machine) -> None:
        raise AssertionError("a local pair is stepped, not stopped")

    def observe(self, event: dict[str, Any]) -> None:
        self.events.append(event)


class LocalPair:
    """A primary and a secondary of `guest`, protected from the start.

    `memory` is in MiB. `crash_at` is a `Place` for the primary. In the directory `logs` each
    replica keeps its log as NAME.vlog. Use as a context manager.
    """

    def __init__(
        self,
        guest: str = "ledger",
        arguments: Sequence[str] = ("--lines=5", "--pause=1", "--work=100"),
        *,
        seed: int = 0,
        memory: int = 16,
        disk_size: int = 1 << 16,
        timing: Timing | None = None,
        crash_at: str | None = None,
        logs: Path | None = None,
    ) -> None:
        image = open_image(guest)
        self.now = _START
        self.seed = seed
        self.arbiter_reachable = True
        self.generation = 1
        self._alone = True
        self.console = SharedConsole()
        self.emissions: list[str] = []
        """Who made each output, in order."""
        self._takeovers = 0
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._cut: set[str] = set()
        self._connected = True
        self._held: list[tuple[str, bytes]] = []
        disks = [d for d in image.devices if d.kind is DeviceKind.BLOCK]
        self._disks = {d.handle: SharedDisk(disk_size) for d in disks}
        self._names = {d.name: d.handle for d in disks}
        blocks = {d.name: BlockConfig(disk_size) for d in disks}
        config = GuestConfig(image.digest, memory * MIB, tuple(arguments), blocks=blocks)
        check_devices(image, config)

        def replica(name: str, fault: Fault | None = None) -> LocalReplica:
            def note() -> None:
                self.emissions.append(name)

            setting = Setting(
                image,
                Watched(self.console, note),
                {handle: Watched(disk, note) for handle, disk in self._disks.items()},
                blocks,
                timing=timing or Timing(),
                log=logs and logs / f"{name}.vlog",
                fault=fault,
            )
            return LocalReplica(self, name, setting)

        fault = None
        if crash_at is not None:
            fault = Fault(Place.parse(crash_at), lambda: self.primary.strike())
        self.primary = replica("primary", fault)
        self.secondary = replica("secondary")
        self.primary.replica.start_primary(config, self.generation)
        self.secondary.replica.start_secondary()
        self.secondary.do(self.secondary.replica.connected)
        self.run(lambda: self.primary.happened("started") and self.secondary.state == "FOLLOWING")

    # Looking

    @property
    def transcript(self) -> bytes:
        """What an observer of the console has seen."""
        return bytes(self.console.content)

    def disk(self, name: str = "disk") -> bytes:
        return bytes(self._disks[self._names[name]].content)

    @property
    def replicas(self) -> tuple[LocalReplica, LocalReplica]:
        return self.primary, self.secondary

    # Driving

    def step(self) -> bool:
        """The next thing that happens: what is due, or a guest's next exit, or the passing of
        time. False if nothing can happen any more."""
        if self._events and self._events[0][0] <= self.now:
            heapq.heappop(self._events)[2]()
        elif any(r.can_step() for r in self.replicas):
            self.now += _STEP_TIME
            for replica in self.replicas:
                if replica.can_step():
                    replica.step()
        else:
            due = min(r.deadline() for r in self.replicas)
            if self._events:
                due = min(due, self._events[0][0])
            if due == NEVER:
                return False
            self.now = max(self.now, due)
        for replica in self.replicas:
            if replica.deadline() <= self.now:
                replica.do(replica.replica.turn)
        return True

    def run(self, until: Callable[[], bool] = lambda: False, limit: int = 1_000_000) -> None:
        """Step until something holds, or until nothing can happen any more."""
        for _ in range(limit):
            if until() or not self.step():
                return
        raise AssertionError(f"not finished after {limit} steps")

    def run_until(self, time: int) -> None:
        """Until the clock `now` stands at `time`, in nanoseconds."""
        self.run(lambda: self.now >= time)

    def run_to_entry(self, entry: int) -> None:
        """Until the primary's guest has made so many entries, or has ended."""
        primary = self.primary
        self.run(lambda: primary.replica.made >= entry or not primary.alive)

    def run_to(self, position: Position) -> None:
        """Until the primary's guest is at or after a position of exits, or has ended."""
        self.run(lambda: self.primary.position >= position or not self.primary.alive)

    def wait_live(self) -> None:
        """Until the secondary is live."""
        self.run(lambda: self.secondary.happened("live"))
        assert self.secondary.happened("live"), f"the secondary is {self.secondary.state}"

    def switchover(self, side: str = "primary") -> None:
        """Ask a replica for a swap of roles, and wait until it happened or cannot happen."""
        before = max(r.generation for r in self.replicas)
        asked = self._sides(side)[0]
        replies = asked.count("switchover")
        asked.do(asked.replica.switch_over)
        self.run(
            lambda: (
                any(r.state == "FOLLOWING" and r.generation > before for r in self.replicas)
                or asked.count("switchover") > replies
            )
        )

    # Faults

    def crash(self, name: str = "primary", *, silently: bool = False) -> None:
        """A replica is gone, in the middle of whatever it did. The peer's connection drops,
        unless `silently`, as when a machine loses its power."""
        side, peer = self._sides(name)
        side.crashed = True
        if not silently and self._connected:
            self._connected = False
            self._at(_NETWORK_DELAY, lambda: peer.do(peer.replica.disconnected))

    def pause(self, name: str = "primary") -> None:
        self._sides(name)[0].paused = True

    def resume(self, name: str = "primary") -> None:
        side = self._sides(name)[0]
        side.paused = False
        for message in [m for m in self._held if m[0] == name]:
            self._held.remove(message)
            self._deliver(*message)
        side.do(side.replica.turn)

    def cut(self, *towards: str) -> None:
        """Messages no longer arrive, in both directions or only towards the named replicas; the
        connection stands."""
        self._cut |= set(towards or ("primary", "secondary"))

    def heal(self) -> None:
        """What was sent meanwhile arrives now."""
        self._cut.clear()
        held, self._held = self._held, []
        for name, data in held:
            self._deliver(name, data)

    def drop(self) -> None:
        """The connection breaks, with all that is under way, and is made again a little later."""
        self._connected = False
        self._events = [e for e in self._events if not isinstance(e[2], _Delivery)]
        heapq.heapify(self._events)
        for side in self.replicas:
            side.do(side.replica.disconnected)

        def reconnect() -> None:
            self._connected = True
            self.secondary.do(self.secondary.replica.connected)

        self._at(_NETWORK_DELAY, reconnect)

    # What the hosts use

    def carry(self, sender: LocalReplica, data: bytes) -> bool:
        if not self._connected:
            return False
        peer = self._sides(sender.name)[1]
        self._deliver(peer.name, data)
        return True

    def judge(self, side: LocalReplica, claim: Claim) -> None:
        def answer() -> None:
            verdict: Verdict | None = None
            if self.arbiter_reachable:
                verdict = self._verdict(claim)
            side.do(lambda: side.replica.arbiter_answered(verdict))

        self._at(_ARBITER_DELAY, answer)

    def _verdict(self, claim: Claim) -> Verdict:
        if self.generation == claim.expected:
            self.generation += 1
            self._alone = claim.alone
            return Verdict.WON
        if self.generation == claim.expected + 1 and not self._alone:
            return Verdict.TAKEN_OVER
        return Verdict.LOST

    def inputs(self, pause: Callable[[], None], start: Continuation) -> Inputs:
        self._takeovers += 1
        return SimulatedWorld(
            self.seed * 1000 + self._takeovers,
            self.console,
            self._disks,
            start=start,
            pause=pause,
        )

    def _sides(self, name: str) -> tuple[LocalReplica, LocalReplica]:
        side = self.primary if name == "primary" else self.secondary
        return side, self.secondary if side is self.primary else self.primary

    def _at(self, delay: int, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + delay, next(self._order), action))

    def _deliver(self, name: str, data: bytes) -> None:
        self._at(_NETWORK_DELAY, _Delivery(self, name, data))

    def close(self) -> None:
        for side in self.replicas:
            side.close()

    def __enter__(self) -> LocalPair:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Delivery:
    """A message under way. Who is cut off or paused gets it later, who crashed never."""

    def __init__(self, pair: LocalPair, name: str, data: bytes) -> None:
        self._pair, self._name, self._data = pair, name, data

    def __call__(self) -> None:
        side = self._pair._sides(self._name)[0]
        if self._name in self._pair._cut or side.paused:
            self._pair._held.append((self._name, self._data))
        else:
            origin = b"secondary" if self._name == "primary" else b""  # as ZeroMQ names them
            side.do(lambda: side.replica.arrived(origin, self._data))
