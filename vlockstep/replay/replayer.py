"""A World whose inputs come from a log and whose outputs are compared with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from vlockstep.errors import VlockstepError
from vlockstep.machine.blockcounter import NEVER
from vlockstep.machine.interface import Probe
from vlockstep.machine.position import Position
from vlockstep.machine.registers import Registers, describe_difference
from vlockstep.machine.report import disassemble
from vlockstep.machine.world import NoAnswer, Outcome
from vlockstep.replay.entry import (
    Checkpoint,
    End,
    Entry,
    Kind,
    Value,
    block_write_digest,
    describe,
    output_digest,
    position,
    slice_digest,
)

# Looking up a member of an enumeration takes 0.1 µs; these are looked up for every entry.
(
    _CYCLES,
    _WALLTIME,
    _POLL,
    _NET_READ,
    _BLOCK_READ,
    _CONSOLE,
    _NET_WRITE,
    _BLOCK_WRITE,
    _INTERRUPT,
    _END,
    _GENERATION,
    _RANDOM,
) = Kind


class Divergence(VlockstepError):
    """A replica is not in the state that was logged; it must not go live.

    `logged` is None if the log has no registers for this position.
    """

    def __init__(
        self,
        what: str,
        sequence: int,
        at: Position,
        registers: Registers,
        logged: Registers | None,
        code: str,
        verified: str,
    ) -> None:
        super().__init__(f"divergence at entry {sequence}, {at}: {what}")
        self.position = at
        self.registers = registers
        self.logged = logged
        self._code = code
        self._verified = verified

    def report(self) -> str:
        """The message, what is known of the difference, and the code around RIP."""
        if self.logged is None:
            detail = f"registers here:\n{self.registers}"
        elif self.registers == self.logged:
            detail = "all registers are equal"
        else:
            difference = describe_difference(self.registers, self.logged)
            detail = f"registers that differ, here != logged:\n{difference}"
        return f"{self}\n{self._verified}\n\n{detail}\n\n{self._code}"


class Source(Protocol):
    """Where a Replayer gets its entries."""

    def peek(self) -> Entry:
        """The next entry, not taken. May wait for it. Raises `NoAnswer` if there is
        none, or `WorldChanged` if the replica stops replaying instead."""

    def take(self) -> Entry:
        """The same entry, taken."""


class Sequence:
    """A `Source` over an iterator, such as a log file."""

    def __init__(self, entries: Iterator[Entry]) -> None:
        self._entries = entries
        self._ahead: Entry | None = None

    def peek(self) -> Entry:
        if self._ahead is None:
            self._ahead = self.take()
        return self._ahead

    def take(self) -> Entry:
        entry = self._ahead
        if entry is not None:
            self._ahead = None
            return entry
        try:
            return next(self._entries)
        except StopIteration:
            raise NoAnswer("the log ends here; the guest had not ended") from None


class LocalDisk(Protocol):
    def read(self, offset: int, length: int) -> bytes | None: ...

    def write(self, offset: int, data: bytes) -> None: ...


class Replayer:
    """Feeds a machine from `source` and verifies every digest on the way.

    `suppressed` is told every output that the log confirmed, with the entry's sequence number;
    the output goes nowhere else, but for disks in `local`, which this replica reads and writes.
    """

    def __init__(
        self,
        source: Source,
        machine: Probe,
        *,
        local: Mapping[int, LocalDisk] | None = None,
        suppressed: Callable[[int, Kind, int, int, bytes], None] | None = None,
        sequence: int = 0,
        clock: tuple[int, int] = (0, 0),
    ) -> None:
        self._source: Source = source
        self._machine = machine
        self._local = local or {}
        self._suppressed = suppressed
        self.sequence = sequence
        """Entries taken and verified so far: the sequence number of the next one."""
        self._cycles, self._walltime = clock
        self._verified: int | None = None

    @property
    def clock(self) -> tuple[int, int]:
        """The last cycles and wall-clock time that were read."""
        return self._cycles, self._walltime

    # Inputs

    def read_through(self, wrap: Callable[[Source], Source]) -> None:
        """Get entries through another source, from the next one on. In the guest's thread."""
        self._source = wrap(self._source)

    def cycles(self, at: int) -> int:
        # `_take`, written out: this is the most frequent entry.
        found, exits, blocks, value, checkpoint = entry = self._source.take()
        if found != _CYCLES or exits != at or blocks:
            raise self._unexpected(_CYCLES, entry)
        if checkpoint:
            self._check(checkpoint)
        self.sequence += 1
        assert type(value) is int
        self._cycles = value
        return value

    def walltime(self, at: int) -> int:
        value = self._take(_WALLTIME, at)
        assert isinstance(value, int)
        self._walltime = value
        self.sequence += 1
        return value

    def generation(self, at: int) -> int:
        value = self._take(_GENERATION, at)
        assert isinstance(value, int)
        self.sequence += 1
        return value

    def random(self, at: int) -> int:
        value = self._take(_RANDOM, at)
        assert isinstance(value, int)
        self.sequence += 1
        return value

    def poll(self, at: int, timeout: int) -> int:
        value = self._take(_POLL, at)
        assert isinstance(value, int)
        self.sequence += 1
        return value

    def net_read(self, at: int, handle: int, limit: int) -> bytes | None:
        value = self._take(_NET_READ, at)
        assert isinstance(value, tuple)
        logged, frame = value
        if logged not in (handle, None):
            raise self._divergence(
                f"the guest reads from the NIC of handle {handle} where the log has a read from "
                f"that of handle {logged}"
            )
        if frame is not None and len(frame) > limit:
            raise self._divergence(f"a frame of {len(frame)} bytes for a read of {limit}")
        self.sequence += 1
        return frame

    def block_read(self, at: int, handle: int, offset: int, length: int) -> bytes | None:
        value = self._take(_BLOCK_READ, at)
        assert value is None or isinstance(value, bytes)
        disk = self._local.get(handle)
        if disk is not None and value is not None:
            data = disk.read(offset, length)
            if data is None or output_digest(data) != value:
                raise self._divergence(f"the local disk differs at offset {offset}")
            value = data
        if value is not None and len(value) != length:
            raise self._divergence(f"{len(value)} bytes for a block read of {length}")
        self.sequence += 1
        return value

    def stop_at(self, at: Position) -> int | None:
        entry = self._source.peek()
        return entry[2] if entry[0] == _INTERRUPT and entry[1] == at.exits else NEVER

    def interrupt(self, at: Position, enabled: bool) -> int | None:
        entry = self._source.peek()
        if entry[0] != _INTERRUPT or position(entry) != at:
            if entry[0] == _INTERRUPT and position(entry) < at:
                raise self._divergence(f"an interrupt was logged at {position(entry)}, before this")
            return None
        if not enabled:
            off = "an interrupt was logged where the guest has them off"
            raise self._divergence(off, blocks=at.blocks)
        return self._interrupt(at)

    def wait_interrupt(self, at: Position) -> int:
        return self._interrupt(at)

    def _interrupt(self, at: Position) -> int:
        vector = self._take(_INTERRUPT, at.exits, at.blocks)
        assert isinstance(vector, int)
        self.sequence += 1
        return vector

    # Outputs

    def console(self, at: int, data: bytes) -> None:
        self._compare(_CONSOLE, at, output_digest(data), "console text")
        self._suppress(_CONSOLE, 0, 0, data)

    def net_write(self, at: int, handle: int, frame: bytes) -> None:
        self._compare(_NET_WRITE, at, output_digest(frame), "frame")
        self._suppress(_NET_WRITE, handle, 0, frame)

    def block_write(self, at: int, handle: int, offset: int, data: bytes) -> None:
        digest = block_write_digest(handle, offset, data)
        self._compare(_BLOCK_WRITE, at, digest, "disk write")
        if handle in self._local:
            self._local[handle].write(offset, data)
            self.sequence += 1
        else:
            self._suppress(_BLOCK_WRITE, handle, offset, data)

    def timer(self, at: int, period: int, vector: int, kick: Callable[[], None]) -> None:
        pass

    def end(self, outcome: Outcome) -> None:
        at = outcome.position
        value = self._take(_END, at.exits, at.blocks)
        assert isinstance(value, bytes)
        if differences := End.unpack(value).differences(End.of(outcome)):
            differing = ", ".join(differences)
            told = f"the guest ended here with other {differing} than logged"
            raise self._divergence(told, blocks=at.blocks)
        self._suppress(_END, 0, 0, b"")

    # Comparing

    def _take(self, kind: Kind, exits: int, blocks: int = 0) -> Value:
        entry = self._source.take()
        found, at, at_blocks, value, checkpoint = entry
        if found != kind or at != exits or at_blocks != blocks:
            raise self._unexpected(kind, entry, blocks)
        if checkpoint:
            self._check(checkpoint, blocks)
        return value

    def _unexpected(self, kind: Kind, entry: Entry, blocks: int = 0) -> Divergence:
        told = (
            f"the guest asks for {kind.name.lower()} where the log has, "
            f"at {position(entry)}: {describe(entry)}"
        )
        return self._divergence(told, blocks=blocks)

    def _compare(self, kind: Kind, at: int, digest: bytes, what: str) -> None:
        if self._take(kind, at) != digest:
            raise self._divergence(f"the {what} is not the one that was logged")

    def _suppress(self, kind: Kind, handle: int, offset: int, data: bytes) -> None:
        if self._suppressed is not None:
            self._suppressed(self.sequence, kind, handle, offset, data)
        self.sequence += 1

    def _check(self, packed: bytes, blocks: int = 0) -> None:
        registers = self._machine.registers()
        logged = Checkpoint.unpack(packed, registers)
        if logged.registers != registers:
            raise self._divergence("the registers differ", logged.registers, blocks)
        memory = self._machine.memory
        if logged.memory_digest and (slice_digest(memory, logged.address) != logged.memory_digest):
            told = f"the memory from {logged.address:#x} on differs"
            raise self._divergence(told, logged.registers, blocks)
        self._verified = self.sequence

    def _divergence(
        self, what: str, logged: Registers | None = None, blocks: int = 0
    ) -> Divergence:
        """At the position that the guest's own entry would have: behind so many blocks, which is 0
        in an exit, counted or not."""
        machine = self._machine
        registers = machine.registers()
        code = disassemble(registers["rip"], machine.read_virtual, machine.image.symbol)
        verified = (
            "no checkpoint before it"
            if self._verified is None
            else f"the registers were still equal at entry {self._verified}"
        )
        at = Position(machine.position.exits, blocks)
        return Divergence(what, self.sequence, at, registers, logged, code, verified)
