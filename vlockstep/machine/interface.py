"""What others need of a machine: each is satisfied by a `Machine`, and by whatever else executes a
guest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from vlockstep.machine.config import GuestConfig
from vlockstep.machine.dirty import DirtyPages
from vlockstep.machine.image import Image
from vlockstep.machine.position import Position
from vlockstep.machine.registers import Registers
from vlockstep.machine.world import Outcome, Stop, World


class GuestMemory(Protocol):
    """Guest RAM, for who looks at it, or does it harm."""

    @property
    def size(self) -> int: ...

    @property
    def used(self) -> int: ...

    def extents(self) -> Iterable[tuple[int, int]]: ...

    def peek(self, address: int, length: int) -> bytes: ...

    def peek_into(self, address: int, target: memoryview) -> None: ...

    def digest(self) -> bytes: ...

    def write(self, address: int, content: bytes) -> None: ...

    def fill(self, address: int, content: bytes) -> None: ...

    def clear(self) -> None: ...


class Probe(Protocol):
    """A guest, for who looks at it: as a Recorder and a Replayer do."""

    @property
    def image(self) -> Image: ...

    @property
    def memory(self) -> GuestMemory: ...

    @property
    def position(self) -> Position: ...

    def registers(self) -> Registers: ...

    def read_virtual(self, address: int, length: int) -> bytes: ...


class GuestMachine(Probe, Protocol):
    """A guest, for who executes it: as a replica does. See `Machine` for what each part means."""

    config: GuestConfig
    core_directory: Path | None
    outcome: Outcome | None
    exits: int
    fallback: str

    @property
    def timed(self) -> bool: ...

    @property
    def stops_anywhere(self) -> bool: ...

    def run(self, world: World) -> Outcome | Stop: ...

    def stop(self) -> None: ...

    def break_at(
        self, position: Position, action: Callable[[], None], *, exact: bool = True
    ) -> None: ...

    def dump_core(self, registers: Registers) -> tuple[Path | None, str]: ...

    def replace_world(self, world: World) -> None: ...

    def track(self) -> DirtyPages:
        """From now on, which pages of its RAM it writes."""

    def save(self) -> bytes:
        """Its state, but for the RAM: where `Machine.capture` can take it."""

    def become(self, state: bytes) -> None:
        """In the state that `save` told, with the RAM that it has. Raises `StateError`."""

    def count(self, wanted: bool) -> None: ...

    def kick(self) -> None: ...

    def visit(self, action: Callable[[], None]) -> None: ...

    def call_off(self, action: Callable[[], None]) -> None: ...

    def let_in(self) -> None: ...

    def close(self) -> None: ...
