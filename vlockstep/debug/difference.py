"""Where two recordings of one guest part: the entry, and the instruction."""

from __future__ import annotations

from dataclasses import dataclass

from vlockstep.debug.mark import Mark
from vlockstep.debug.recording import Recording
from vlockstep.debug.timeline import Timeline
from vlockstep.errors import UsageError
from vlockstep.machine.position import Position
from vlockstep.machine.registers import NAMES, Registers
from vlockstep.machine.report import disassemble
from vlockstep.replay.entry import Checkpoint, End, Entry, Kind, position


def part(first: Recording, second: Recording) -> int | None:
    """The number of the first entry that is not in both, or at another position, or with another
    value; None if there is none. Of logs that do not begin at boot, what is before one of them
    does not count. Raises `UsageError` if they are not of one guest, or have no entry in common."""
    if first.config != second.config:
        raise UsageError(
            f"{first.path} and {second.path} are of guests that were started with different "
            "images, memory, arguments or devices"
        )
    same = _Same(first.config.sites is not None)
    sequence = max(first.first, second.first)
    if sequence and sequence >= min(first.count, second.count):
        each = (f"{log.path} has {log.first} to {log.count - 1}" for log in (first, second))
        raise UsageError(f"no entry is in both logs: {', '.join(each)}")
    while True:
        ours, theirs = first.run(sequence), second.run(sequence)
        count = min(len(ours), len(theirs))
        for n in range(count):
            if not same(ours[n], theirs[n]):
                return sequence + n
        sequence += count
        if not count:
            return sequence if ours or theirs else None


class _Same:
    """Whether two entries tell the same of a guest, which may change between engines."""

    def __init__(self, changes: bool) -> None:
        self._like = Registers(dict.fromkeys(NAMES, 0))
        self._kin = "" if changes else None

    def __call__(self, ours: Entry, theirs: Entry) -> bool:
        if ours[:3] != theirs[:3]:
            return False
        if ours[0] == Kind.END:
            assert isinstance(ours[3], bytes) and isinstance(theirs[3], bytes)
            return not End.unpack(ours[3]).differences(End.unpack(theirs[3]))
        return ours[3] == theirs[3] and self._agree(ours[4], theirs[4])

    def _agree(self, ours: bytes, theirs: bytes) -> bool:
        """Registers are told by some entries, and RAM by fewer; they need not be in both."""
        if not (ours and theirs):
            return True
        first, second = (Checkpoint.unpack(each, self._like) for each in (ours, theirs))
        if self._registers(first) != self._registers(second):
            return False
        told = first.memory_digest and second.memory_digest and first.address == second.address
        return not told or first.memory_digest == second.memory_digest

    def _registers(self, told: Checkpoint) -> Registers:
        kin = told.registers.kin
        return Registers(told.registers, self._kin if kin is None else kin)


@dataclass(frozen=True)
class Parting:
    """Up to `mark` both execute the same instructions in equal states. `registers` are those of
    each behind the instruction there, or before it if an interrupt comes to one alone."""

    mark: Mark
    code: str
    registers: tuple[Registers, Registers]


def parting(first: Timeline, second: Timeline, sequence: int) -> Parting | None:
    """Of two recordings whose first different entry is number `sequence`; None if one of them
    begins only behind that place."""
    begins = max(timeline.recording.begins for timeline in (first, second))
    if any(_before(timeline.recording.entry(sequence), begins) for timeline in (first, second)):
        return None
    marks = [_place(timeline, sequence) for timeline in (first, second)]
    mark = min(marks)
    before = [_registers(timeline, mark) for timeline in (first, second)]
    code = disassemble(before[0].rip, first.read, first.image.symbol)
    if before[0] != before[1]:
        return Parting(mark, code, (before[0], before[1]))
    behind = []
    for timeline in (first, second):
        timeline.step()
        behind.append(timeline.registers())
    return Parting(mark, code, (behind[0], behind[1]))


def _before(entry: Entry | None, begins: Position) -> bool:
    """Whether it is made before that boundary. The instruction that makes one in an exit is before
    its position."""
    if entry is None:
        return False
    at = position(entry)
    return at < begins if entry[0] == Kind.INTERRUPT else Position(at.exits + 1, 0) <= begins


def _place(timeline: Timeline, sequence: int) -> Mark:
    """Where an entry is made, or the recording ends before it."""
    if timeline.recording.entry(sequence) is None:
        timeline.to_end()
        return timeline.mark
    try:
        return timeline.seek(sequence)
    except UsageError:  # its own guest comes to something else before
        timeline.to_end()
        return timeline.mark


def _registers(timeline: Timeline, mark: Mark) -> Registers:
    timeline.seek(mark)
    return timeline.registers()
