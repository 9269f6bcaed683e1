"""Stops, watched for while a machine runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from vlockstep.debug.stops import Access, Breakpoint, Outside, Stop, Watchpoint
from vlockstep.machine.machine import Machine
from vlockstep.machine.position import Position
from vlockstep.machine.unicornengine import READS, WRITES, UnicornEngine, Watch

_KINDS = {Access.WRITE: WRITES, Access.READ: READS, Access.EITHER: READS | WRITES}

Hit = Callable[[Stop, Position], None]
"""Told of something that may be one, with the boundary of the block in which it is."""


class Watches:
    """As a context: `hit` is called within the machine's hooks, for breakpoints whose condition
    holds, and for accesses. What a device, an exception or an interrupt wrote is told behind it."""

    def __init__(self, machine: Machine, stops: Iterable[Stop], hit: Hit) -> None:
        assert isinstance(machine.engine, UnicornEngine)
        self._machine, self._engine = machine, machine.engine
        self._stops = list(stops)
        self._hit = hit
        self._hooks: list[Watch] = []
        self._known: dict[Watchpoint, bytearray] = {}

    def __enter__(self) -> Watches:
        engine = self._engine
        for stop in self._stops:
            if isinstance(stop, Breakpoint):
                action = self._at(stop)
                self._hooks.append(engine.watch_code(action, stop.address, stop.address))
                continue
            if isinstance(stop, Outside):
                self._hooks.append(engine.watch_code(self._left(stop), stop.end))
                if stop.start:
                    self._hooks.append(engine.watch_code(self._left(stop), 0, stop.start - 1))
                continue
            end = stop.address + stop.length
            accessed, kinds = self._accessed(stop), _KINDS[stop.access]
            self._hooks.append(engine.watch_memory(accessed, stop.address, end, kinds))
            if stop.access is not Access.READ:
                self._known[stop] = self._read(stop)
        if self._known:
            self._machine.on_touch = self._touched
        return self

    def __exit__(self, *_: object) -> None:
        self._machine.on_touch = None
        for hook in self._hooks:
            self._engine.let_be(hook)
        self._hooks.clear()

    def _read(self, stop: Watchpoint) -> bytearray:
        return bytearray(self._machine.read_virtual(stop.address, stop.length))

    def _at(self, stop: Breakpoint) -> Callable[[int, int], None]:
        machine, condition = self._machine, stop.condition

        def action(_address: int, _size: int) -> None:
            if condition is None or condition(machine.engine.registers, machine.read_virtual):
                self._hit(stop, machine.begun)

        return action

    def _left(self, stop: Outside) -> Callable[[int, int], None]:
        return lambda _address, _size: self._hit(stop, self._machine.begun)

    def _accessed(self, stop: Watchpoint) -> Callable[[int, int, int | None], None]:
        def action(address: int, size: int, value: int | None) -> None:
            if not stop.hits(address, size):
                return
            if value is not None and (known := self._known.get(stop)) is not None:
                written = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
                for at, byte in enumerate(written, address - stop.address):
                    if 0 <= at < len(known):
                        known[at] = byte
            self._hit(stop, self._machine.begun)

        return action

    def _touched(self, begun: Position) -> None:
        for stop, known in self._known.items():
            found = self._read(stop)
            if found != known:
                self._known[stop] = found
                self._hit(stop, begun)
