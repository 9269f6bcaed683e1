"""What a recorded guest does: its calls, hypercalls and interrupts, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

from vlockstep.debug.calls import Calls, Function
from vlockstep.debug.mark import Mark
from vlockstep.debug.recording import CLOCKS, Entries, Recording
from vlockstep.debug.ticker import Ticker
from vlockstep.debug.timeline import Timeline
from vlockstep.errors import UsageError, VlockstepError
from vlockstep.machine import exceptions
from vlockstep.machine.engines import UNICORN
from vlockstep.machine.machine import Machine
from vlockstep.machine.position import BOOT, Position
from vlockstep.machine.report import GuestError
from vlockstep.machine.unicornengine import UnicornEngine, Watch
from vlockstep.machine.world import Cause, Outcome
from vlockstep.replay.entry import Kind
from vlockstep.replay.replayer import Replayer

ARGUMENTS = ("rdi", "rsi", "rdx", "rcx", "r8", "r9")
_INTERVAL = 0.25
_MOST = 4096


class What(Enum):
    CALL = "call"
    RETURN = "return"
    EXIT = "exit"
    INTERRUPT = "interrupt"
    EXCEPTION = "exception"


@dataclass(frozen=True)
class Event:
    """`time` is what the guest's clock shows, in ns since it was first read; between two readings
    it goes on by a nanosecond a block and event. `depth` counts the functions around it. A call is
    at the boundary of its block; its details are the registers that hold arguments. A return's are
    its value, unless it was left by other means. An exit is named by the kind of its entry.
    An exception is at the boundary of the block that raised it."""

    what: What
    name: str
    position: Position
    time: int
    depth: int
    details: dict[str, Any] = field(default_factory=dict)


class Edge(NamedTuple):
    """Where a trace begins or ends: before the instruction at `address` in the block at the
    boundary, if it is not the first of that, which makes entry `sequence` or a later one."""

    boundary: Position
    steps: int = 0
    address: int = 0
    sequence: int = 0

    @classmethod
    def at(cls, timeline: Timeline) -> Edge:
        """Where that is."""
        mark = timeline.mark
        return cls(mark.boundary, mark.steps, timeline.registers().rip, timeline.sequence)

    def __str__(self) -> str:
        return str(Mark.at(self.boundary, self.steps) if self.steps else self.boundary)


class Clock:
    """A guest's, as far as one knows it between its readings."""

    def __init__(self, begins: dict[int, int]) -> None:
        self._begins = begins
        self._at = BOOT
        self.now = 0

    def read(self, kind: int, value: int) -> None:
        self.now = max(self.now, value - self._begins.setdefault(kind, value))

    def pass_to(self, position: Position) -> int:
        """The time there."""
        exits, blocks = position
        if exits == self._at.exits:
            blocks -= self._at.blocks
        self.now += 1 + max(0, blocks)
        self._at = position
        return self.now


_BOOT = Edge(BOOT)


class Tracer:
    """Replays a recording, on a CPU of its own, from `begin` to `end`, or to where the recording
    ends. `functions` are those whose calls are told."""

    def __init__(
        self,
        recording: Recording,
        functions: Iterable[Function],
        begin: Edge = _BOOT,
        end: Edge | None = None,
    ) -> None:
        begin = max(begin, Edge(recording.begins))
        if end is not None and end < begin:
            raise UsageError(f"the trace is to end at {end}, before {begin} where it begins")
        self._functions = list(functions)
        self._begin, self._end = begin, end
        self.ending = ""
        """Why there is no more; "" before that."""
        self._events: list[Event] = []
        self._calls = Calls()
        self._on = False
        self._reached = False
        self.machine = Machine(recording.image, recording.config, count_blocks=True, engine=UNICORN)
        try:
            key = recording.nearest(begin.boundary)
            sequence, clock = 0, (0, 0)
            if key is not None:
                keyframe = recording.begin(key, self.machine)
                sequence, clock = keyframe.sequence, keyframe.clock
            self._entries = Entries(recording, sequence)
            self._clock = Clock(recording.first_readings(sequence))
            self._world = _Observed(self._entries, self.machine, sequence, clock, self._exit)
        except BaseException:
            self.machine.close()
            raise
        self.machine.on_exception = self._exception
        self._ticker = Ticker(_INTERVAL, self.machine.stop_at_boundary)

    def close(self) -> None:
        self._ticker.close()
        self.machine.close()

    def __enter__(self) -> Tracer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def sequence(self) -> int:
        """The number of the entry that is made next."""
        return self._world.sequence

    def events(self) -> Iterator[list[Event]]:
        """What happens, some thousand events at most at once; none from time to time, so that one
        may end it. Raises `Divergence` behind what comes before."""
        with self._ticker:
            if self.machine.position < self._begin.boundary:
                yield from self._until(self._begin.boundary)
            self._on = True
            if not self.ending:
                hooks = list(self._hooks())
                try:
                    yield from self._until(_goal(self._end))
                finally:
                    for hook in hooks:
                        self._engine.let_be(hook)
        self.ending = self.ending or f"the trace was to end at {self._end}"

    @property
    def _engine(self) -> UnicornEngine:
        assert isinstance(self.machine.engine, UnicornEngine)
        return self.machine.engine

    def _until(self, goal: Position | None) -> Iterator[list[Event]]:
        self._reached = False
        if goal is not None:
            self.machine.break_at(goal, self._stop, exact=False)
        while not self._reached and not self.ending:
            failure: VlockstepError | None = None
            try:
                self.ending = self._run()
            except VlockstepError as error:
                failure, self.ending = error, str(error)
            told, self._events = self._events, []
            yield told
            if failure is not None:
                raise failure

    def _stop(self) -> None:
        self._reached = True
        if self.machine.at_boundary:
            self.machine.stop()
        else:
            self.machine.stop_at_boundary()

    def _run(self) -> str:
        """How the recording ends, if it does."""
        try:
            found = self.machine.run(self._world)
        except GuestError as error:
            return str(error)
        if isinstance(found, Outcome):
            return found.reason or f"the guest ended with status {found.status}"
        if found.cause is Cause.NO_ANSWER:
            return "the log ends here; the guest had not ended"
        return ""

    def _hooks(self) -> Iterator[Watch]:
        for function in self._functions:
            yield self._engine.watch_code(self._entering(function.name), *2 * (function.address,))
            for address in function.returns:
                yield self._engine.watch_code(self._leave, address, address)

    def _entering(self, name: str) -> Callable[[int, int], None]:
        def enter(address: int, _size: int) -> None:
            if self.machine.passing or self._reached or not self._within(address):
                return
            engine, calls, at = self._engine, self._calls, self.machine.begun
            for left in calls.enter(engine["rsp"], name):
                self._tell(What.RETURN, left, at, calls.depth, {})
            arguments = {each: engine[each] for each in ARGUMENTS}
            self._tell(What.CALL, name, at, calls.depth - 1, arguments)

        return enter

    def _within(self, address: int) -> bool:
        """Whether an instruction is in the part that is told. Those of a block come one behind the
        other."""
        at, begin, end = self.machine.begun, self._begin, self._end
        if begin.steps and at == begin.boundary and address < begin.address:
            return False
        if end is None or not end.steps:
            return True
        return at < end.boundary or (at == end.boundary and address < end.address)

    def _leave(self, address: int, _size: int) -> None:
        if self.machine.passing or self._reached or not self._within(address):
            return
        engine, calls = self._engine, self._calls
        stack = engine["rsp"]
        for above, left in calls.leave(stack):
            details = {} if above else {"value": engine["rax"]}
            self._tell(What.RETURN, left, self.machine.begun, calls.depth, details)

    def _exception(self, position: Position, taken: exceptions.Taken) -> None:
        if self._on and not self._reached and self._within(taken.rip):
            found = {"error": taken.code, "address": taken.address, "rip": taken.rip}
            details = {name: value for name, value in found.items() if value is not None}
            name, depth = exceptions.name(taken.vector), self._calls.depth
            self._tell(What.EXCEPTION, name, position, depth, {"vector": taken.vector, **details})

    def _exit(
        self, kind: Kind, position: Position, value: int | None, details: dict[str, Any]
    ) -> None:
        if kind in CLOCKS and value is not None:
            self._clock.read(kind, value)
        begin, end, number = self._begin, self._end, self.sequence - 1
        early = begin.steps and number < begin.sequence
        late = end is not None and end.steps and number >= end.sequence
        if self._on and not (self._reached or early or late):
            what = What.INTERRUPT if kind is Kind.INTERRUPT else What.EXIT
            details = {"entry": number, **details}
            self._tell(what, kind.name.lower(), position, self._calls.depth, details)

    def _tell(
        self, what: What, name: str, position: Position, depth: int, details: dict[str, Any]
    ) -> None:
        time = self._clock.pass_to(position)
        self._events.append(Event(what, name, position, time, depth, details))
        if len(self._events) >= _MOST:
            self.machine.stop_at_boundary()


def _goal(end: Edge | None) -> Position | None:
    """The boundary up to which the guest has to execute."""
    if end is None or not end.steps:
        return None if end is None else end.boundary
    return Position(end.boundary.exits, end.boundary.blocks + 1)


Told = Callable[[Kind, Position, int | None, dict[str, Any]], None]


class _Observed(Replayer):
    """Tells each entry that proved right, with what the guest did there."""

    def __init__(
        self,
        entries: Entries,
        machine: Machine,
        sequence: int,
        clock: tuple[int, int],
        tell: Told,
    ) -> None:
        super().__init__(entries, machine, sequence=sequence, clock=clock)
        self._at, self._tell = machine, tell
        self._names = {device.handle: device.name for device in machine.image.devices}

    def _told(self, kind: Kind, value: int | None = None, /, **details: Any) -> None:
        if value is not None:
            details = {"value": value} | details
        self._tell(kind, self._at.position, value, details)

    def cycles(self, at: int) -> int:
        value = super().cycles(at)
        self._told(Kind.CYCLES, value)
        return value

    def walltime(self, at: int) -> int:
        value = super().walltime(at)
        self._told(Kind.WALLTIME, value)
        return value

    def generation(self, at: int) -> int:
        value = super().generation(at)
        self._told(Kind.GENERATION, value)
        return value

    def random(self, at: int) -> int:
        value = super().random(at)
        self._told(Kind.RANDOM, value)
        return value

    def poll(self, at: int, timeout: int) -> int:
        value = super().poll(at, timeout)
        self._told(Kind.POLL, value, timeout=timeout)
        return value

    def net_read(self, at: int, handle: int, limit: int) -> bytes | None:
        frame = super().net_read(at, handle, limit)
        self._told(Kind.NET_READ, device=self._names[handle], length=len(frame or b""))
        return frame

    def block_read(self, at: int, handle: int, offset: int, length: int) -> bytes | None:
        data = super().block_read(at, handle, offset, length)
        self._told(Kind.BLOCK_READ, device=self._names[handle], offset=offset, length=length)
        return data

    def _interrupt(self, at: Position) -> int:
        vector = super()._interrupt(at)
        self._told(Kind.INTERRUPT, vector=vector)
        return vector

    def console(self, at: int, data: bytes) -> None:
        super().console(at, data)
        self._told(Kind.CONSOLE, length=len(data), text=data.decode(errors="backslashreplace"))

    def net_write(self, at: int, handle: int, frame: bytes) -> None:
        super().net_write(at, handle, frame)
        self._told(Kind.NET_WRITE, device=self._names[handle], length=len(frame))

    def block_write(self, at: int, handle: int, offset: int, data: bytes) -> None:
        super().block_write(at, handle, offset, data)
        self._told(Kind.BLOCK_WRITE, device=self._names[handle], offset=offset, length=len(data))

    def end(self, outcome: Outcome) -> None:
        super().end(outcome)
        reason = {"reason": outcome.reason} if outcome.reason else {}
        self._told(Kind.END, status=outcome.status, **reason)
