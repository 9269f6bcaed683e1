"""Where two recordings of one guest part: the entry, and the instruction."""

from __future__ import annotations

from dataclasses import dataclass

from vlockstep.debug.mark import Mark
from vlockstep.debug.recording import Recording
from vlockstep.debug.timeline import Timeline
from vlockstep.errors import UsageError
from vlockstep.machine.registers import Registers
from vlockstep.machine.report import disassemble
from vlockstep.replay.entry import Entry


def part(first: Recording, second: Recording) -> int | None:
    """The number of the first entry that is not in both, or at another position, or with another
    value; None if there is none. Raises `UsageError` if they are not of one guest."""
    if first.config != second.config:
        raise UsageError(
            f"{first.path} and {second.path} are of guests that were started with different "
            "images, memory, arguments or devices"
        )
    sequence = 0
    while True:
        ours, theirs = first.run(sequence), second.run(sequence)
        count = min(len(ours), len(theirs))
        for n in range(count):
            if not _same(ours[n], theirs[n]):
                return sequence + n
        sequence += count
        if not count:
            return sequence if ours or theirs else None


def _same(ours: Entry, theirs: Entry) -> bool:
    """Registers are told by some entries, and need not be in both."""
    both = bool(ours[4] and theirs[4])
    return ours[:4] == theirs[:4] and (not both or ours[4] == theirs[4])


@dataclass(frozen=True)
class Parting:
    """Up to `mark` both execute the same instructions in equal states. `registers` are those of
    each behind the instruction there, or before it if an interrupt comes to one alone."""

    mark: Mark
    code: str
    registers: tuple[Registers, Registers]


def parting(first: Timeline, second: Timeline, sequence: int) -> Parting:
    """Of two recordings whose first different entry is number `sequence`."""
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
