"""The `Runtime` of a simulated replica."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from vlockstep.errors import VlockstepError
from vlockstep.ft.events import Event
from vlockstep.ft.handoff import Condition
from vlockstep.ft.outputs import Inputs
from vlockstep.ft.places import Fault
from vlockstep.ft.replica import Replica
from vlockstep.ft.runtime import Setting
from vlockstep.host.background import Background
from vlockstep.host.eventwriter import EventWriter
from vlockstep.host.live import Continuation, NetDevice
from vlockstep.host.mirror import MirroredDisk
from vlockstep.machine.config import GuestConfig
from vlockstep.machine.image import Image
from vlockstep.machine.interface import GuestMachine, Probe
from vlockstep.machine.position import Position
from vlockstep.machine.registers import Registers
from vlockstep.machine.world import Outcome
from vlockstep.protocol.actions import NEVER, Claim, Renew
from vlockstep.protocol.primary import Primary
from vlockstep.protocol.secondary import Secondary
from vlockstep.protocol.states import State
from vlockstep.protocol.timing import SECOND
from vlockstep.replay.entry import Entry, Kind
from vlockstep.sim.background import SimulatedBackground
from vlockstep.sim.sinks import SimulatedNic
from vlockstep.sim.task import GuestTask, TaskCondition

if TYPE_CHECKING:
    from vlockstep.sim.simulation import Clock, Simulation


EFFECTS = frozenset({"send", "claim", "renew", "output", "half of an output"})
"""Points at which the world is about to get something from a host."""


_RATE = 1_000_000
"""Of a clock that is exact."""


class _Crashed(BaseException):
    """The host is gone, in the middle of whatever it did."""


class SimulatedHost:
    """What one of several simulated replicas runs on, named by the role it began in. Others reach
    it by its name.

    Everything that the host does and the rest of the world could notice, or that the rest of the
    world does to it, is a *point*: a message sent or received, a step of the guest, a turn, an
    output (before it, and with half of it made), a claim and its verdict. Between two points only
    memory changes, which dies with the host: so a crash at every point is a crash everywhere.
    `watch` is called at each one with its name.
    """

    def __init__(self, simulation: Simulation, name: str, clock: Clock) -> None:
        self.name = name
        self.endpoint = name
        self.entries: list[Entry] = []
        """All that its guest made or was fed."""
        self.events: list[dict[str, Any]] = []
        self.started = False
        self.joined_at = 0
        """The entries before this one it never had: it has the state that they led to."""
        self.resumed = False
        """It resumes the guest."""
        self.followed = False
        """It was asked for a promise by a primary."""
        self.crashed = False
        self.exited = False
        """Its process has ended by itself: nothing can crash any more."""
        self.paused = False
        self.asked_to_leave = False
        self.holds = False
        """It was told to hold the outputs of a guest that nobody else has."""
        self.points = 0
        self.watch: Callable[[str], None] = lambda what: None
        self.hurries = False
        """A guest that hurries carries out the turn itself, instead of waking the host."""
        self.slowness = 1
        """How much longer than others its guest takes from exit to exit."""
        self.diverges = False
        """Its guest will lose count of its exits when it has entries to find that out by."""
        self.on_begin: Callable[[], None] = lambda: None
        """Called when a guest begins here."""
        self.fault: Fault | None = None
        """A crash at a place."""
        self.nics: dict[int, SimulatedNic] = {}
        self.disks: dict[str, MirroredDisk] = {}
        """Those that all replicas share, by name."""
        self.moving = False
        """One of them is on its way to another file."""
        self.task = GuestTask()
        self.replica: Replica
        self.simulation = simulation
        self._stalled: set[str] = set()
        self._backgrounds: dict[str, SimulatedBackground] = {}
        self.told: list[dict[str, Any]] = []
        """Events that somebody has read."""
        self._teller = EventWriter(self.background("events"), self.told.append, self.now)
        self._skew, self._rate = clock.skew, round(_RATE * (1 + clock.drift))
        self._missed: list[Callable[[], None]] = []
        self._woken = False
        self._late = 0
        self._wanted: int | None = None
        """When the replica wants a turn; None since something happened to it."""

    def equip(self, setting: Setting) -> None:
        self.disks = setting.shared_disks
        self.replica = Replica(setting, self, self.name, self.entries.extend)

    def start(self, start: Callable[[], None]) -> None:
        self.started = True
        self._wanted = None
        start()
        if self.simulation.holds:
            self.hold(True)

    def begin(self) -> None:
        self.on_begin()

    # For tests

    @property
    def alive(self) -> bool:
        """It may still do something."""
        return not self.over and not self.paused

    @property
    def over(self) -> bool:
        """It will never do anything again, or has not begun."""
        return not self.started or self.crashed or self.replica.result is not None

    @property
    def awaits(self) -> bool:
        """It does nothing unless a guest is moved to it."""
        return self.state == "JOINING" and self.replica.deadline() == NEVER

    @property
    def gone(self) -> bool:
        """It crashed, or left as it was asked to."""
        return self.crashed or (self.asked_to_leave and isinstance(self.outcome, VlockstepError))

    @property
    def state(self) -> str:
        return self.replica.role.state.name

    @property
    def generation(self) -> int:
        return self.replica.role.generation

    @property
    def ended(self) -> bool:
        """Its guest has."""
        return bool(self.entries) and self.entries[-1][0] == Kind.END

    @property
    def live(self) -> bool:
        """Whether it may make outputs, if its lease permits."""
        return isinstance(self.replica.role, Primary) and self.state not in (
            "WAITING", "HANDED_OVER", "SWAPPED", "STOPPED"
        )  # fmt: skip

    @property
    def received(self) -> int:
        """The entries before this one are here."""
        role = self.replica.role
        return role.next if isinstance(role, Primary) else role.received_entries

    @property
    def outcome(self) -> Outcome | VlockstepError | None:
        return self.replica.result

    @property
    def guest(self) -> GuestMachine:
        assert self.replica.machine is not None, f"{self.name} has no guest yet"
        return self.replica.machine

    @property
    def position(self) -> Position:
        return self.guest.position

    def registers(self) -> Registers:
        """Of the guest where it stands, or where it ended."""
        return self.guest.outcome.registers if self.guest.outcome else self.guest.registers()

    def memory_digest(self) -> bytes:
        if self.guest.outcome:
            return self.guest.outcome.memory_digest
        return self.guest.memory.digest()

    def happened(self, event: str) -> bool:
        return self.count(event) > 0

    def count(self, event: str) -> int:
        return sum(e["event"] == event for e in self.events)

    # What the simulation calls

    def point(self, what: str) -> None:
        self.points += 1
        self.watch(what)
        if self.crashed:
            raise _Crashed

    def do(self, what: str, action: Callable[[], None] = lambda: None, turn: bool = True) -> None:
        """Let something happen to the host, followed by a turn, and let its guest react. A host
        that is paused makes up for it later."""
        if self.over:
            return
        if self.paused:
            self._missed.append(lambda: self.do(what, action, turn))
            return
        try:
            self.point(what)
            self._woken = self._woken or turn
            action()
            self.task.settle()
            while self._woken and not self.over:
                self._woken = False
                self.replica.turn(tick=not self.simulation.punctual)
                self.task.settle()
        except _Crashed:
            pass
        self._wanted = None
        self.followed = self.followed or self.state == "FOLLOWING"
        self.simulation.acted(self)
        if self.over:
            self.replica.fall_silent()
            self.replica.close(self._end())

    def _end(self) -> bool:
        """What a process does in the end: whether the arbiter learns that the guest has ended."""
        self.exited = not self.crashed
        role = self.replica.role
        if self.exited and isinstance(role, Primary) and role.state is State.FINISHED:
            self.simulation.arbiter.ended.add(role.generation)
            return True
        return False

    def step(self) -> None:
        """Let the guest go to the end of its next exit."""
        if self.diverges and self.replica.behind:
            self.diverges = False
            self.guest.exits += 1
        if self.alive and self.task.can_step():
            self.do("step", self.task.step, turn=False)

    def resume(self) -> None:
        self.paused = False
        missed, self._missed = self._missed, []
        for action in missed:
            action()
        self.do("turn")

    def once_resumed(self, action: Callable[[], None]) -> None:
        """While it is paused."""
        self._missed.append(action)

    def stalled(self, name: str) -> bool:
        """Whether the work of the background `name` stands still."""
        return name in self._stalled

    def stall(self, name: str, stalled: bool) -> None:
        """Let what the background `name` does take for ever, or go on."""
        if stalled:
            self._stalled.add(name)
        else:
            self._stalled.discard(name)
            if name in self._backgrounds:
                self._backgrounds[name].go_on()

    def leave(self) -> None:
        """It is to stop."""
        self.asked_to_leave = True
        self.replica.leave("asked to leave")

    def hold(self, hold: bool) -> None:
        def change() -> None:
            self.holds = hold
            self.replica.set_hold(hold)

        self.do("hold", change)

    def plug(self, plugged: bool) -> None:
        for nic in self.nics.values():
            nic.plugged = plugged

    def deadline(self) -> int:
        """When the replica gets the turn that it wants, by the simulation's clock: too late, or
        once too early."""
        due = self._due()
        return due if due == NEVER else due + self._late

    def wake_up(self) -> None:
        """Its timer has gone off."""
        early, late = self.simulation.conditions.timer
        woken_early = self.simulation.now < self._due()
        self._late = self.simulation.chance.randint(0 if woken_early else early, late)
        self.do("turn")

    def _due(self) -> int:
        if not self.alive:
            return NEVER
        if self._wanted is None:
            due = self.replica.deadline()
            self._wanted = NEVER if due == NEVER else -(-(due - self._skew) * _RATE // self._rate)
        return self._wanted

    def close(self) -> None:
        self.task.kill()
        self.replica.fall_silent()
        self.replica.close()
        if self.replica.machine is not None:
            self.replica.machine.close()

    def inject(self) -> None:
        """A `Fault` is injected."""
        self.crashed = True
        raise _Crashed

    # Runtime

    def now(self) -> int:
        return self._skew + self.simulation.now * self._rate // _RATE

    def dial(self, endpoint: str) -> bytes | None:
        self.simulation.network.dial(self, self.simulation.host(endpoint))
        return f"to {endpoint}".encode()

    def hang_up(self, peer: bytes) -> None:
        listener = peer.decode().removeprefix("to ")
        self.simulation.network.hang_up(self, self.simulation.host(listener))

    def send(self, data: bytes, peer: bytes) -> bool:
        self.point("send")
        return self.simulation.network.send(self, data, peer)

    def claim(self, claim: Claim) -> None:
        self.point("claim")
        self.simulation.arbiter.claim(self, claim)

    def renew(self, asked: Renew) -> None:
        self.point("renew")
        self.simulation.arbiter.renew(self, asked)

    def inputs(
        self,
        nics: Mapping[int, NetDevice],
        pause: Callable[[], None],
        start: Continuation,
    ) -> Inputs:
        return self.simulation.inputs(self, nics, pause, start)

    def machine(
        self, image: Image, config: GuestConfig, count_blocks: bool, engine: str
    ) -> GuestMachine:
        return self.simulation.make_machine(image, config, count_blocks)

    def launch(self, run: Callable[[], None]) -> None:
        fault = self.fault
        if fault is not None and fault.place.seconds is not None:
            delay = round(fault.place.seconds * SECOND)
            self.simulation.after(delay, lambda: self.do("fault", fault.inject))
        role = self.replica.role
        if isinstance(role, Secondary) and (joined_at := self.replica.executed):
            if not self.resumed:
                source = self.simulation.host(role.owner)
                self.entries[:0] = source.entries[:joined_at]
            self.joined_at = joined_at
        self.task.launch(run, self.guest)

    def background(self, name: str) -> Background:
        found = self._backgrounds[name] = SimulatedBackground(self, name)
        return found

    def condition(self) -> Condition:
        return TaskCondition(self.task)

    def wake(self) -> None:
        self._woken = True

    def hurry(self) -> None:
        if self.hurries:
            self.replica.send_off()
        else:
            self._woken = True

    def look_around(self, place: str, machine: Probe) -> None:
        raise AssertionError("a simulated pair is stepped, not stopped")

    def observe(self, event: Event) -> None:
        told = event.to_dict()
        self.events.append(told)
        if told["event"] == "loading":
            self.simulation.give_disks(self)
        if told["event"] == "started":
            self.simulation.started(self)
        self._teller.observe(told)
