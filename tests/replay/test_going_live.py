"""A machine whose world is replaced in the middle, as when a secondary goes live."""

from __future__ import annotations

import re

import pytest
from support import Console, MemoryDisk, config_for, disk_config, machine_of, record, sample

from vlockstep.host.live import Continuation
from vlockstep.host.simulated import SimulatedWorld
from vlockstep.machine.config import GuestConfig
from vlockstep.machine.image import Image
from vlockstep.machine.machine import Machine
from vlockstep.machine.world import Outcome, WorldChanged
from vlockstep.replay.entry import Entry, Kind
from vlockstep.replay.recorder import Recorder
from vlockstep.replay.replayer import Replayer, Sequence

CAPACITY = 64 * 512


class Ending:
    """A source of entries that replaces the machine's world when all are taken."""

    def __init__(self, entries: list[Entry], machine: Machine) -> None:
        self._left = [*reversed(entries)]
        self._machine = machine
        self.live: Recorder | None = None

    def peek(self) -> Entry:
        if not self._left:
            assert self.live is not None
            self._machine.replace_world(self.live)
            raise WorldChanged
        return self._left[-1]

    def take(self) -> Entry:
        entry = self.peek()
        self._left.pop()
        return entry


def take_over(
    image: Image, config: GuestConfig, entries: list[Entry], seed: int, console: Console,
    disk: MemoryDisk,
) -> tuple[list[Entry], Outcome]:  # fmt: skip
    """Replay `entries`, then go on in another world; the whole log, and the end."""
    log = [*entries]
    with machine_of(image, config) as machine:
        source = Ending(entries, machine)

        def emit(_sequence: int, kind: Kind, _handle: int, offset: int, data: bytes) -> None:
            if kind is Kind.CONSOLE:
                console.write(len(console.text), data)
            elif kind is Kind.BLOCK_WRITE:
                disk.write(offset, data)

        replayer = Replayer(source, machine, suppressed=emit)

        class Late(SimulatedWorld):
            """Begins where the log ended, which is known only then."""

            def __init__(self) -> None:
                pass

            def __getattribute__(self, name: str) -> object:
                if "_random" not in object.__getattribute__(self, "__dict__"):
                    SimulatedWorld.__init__(
                        self, seed, console, {1: disk},
                        start=Continuation(replayer.clock), console_offset=len(console.text),
                    )  # fmt: skip
                return object.__getattribute__(self, name)

        source.live = Recorder(Late(), machine, log.append)
        return log, machine.run(replayer)


LEDGER, PREEMPT = sample("ledger"), sample("preempt")
LEDGER_CONFIG = config_for(
    LEDGER, "--lines=12", "--work=5", "--pause=1", blocks=disk_config(CAPACITY)
)
PREEMPT_CONFIG = config_for(PREEMPT, "--work=20000", "--period=10000", "--tsc=1")


@pytest.mark.parametrize("part", range(3))
def test_a_ledger_goes_on_at_every_entry_with_nothing_lost_or_doubled(part: int) -> None:
    recording = record(
        LEDGER, LEDGER_CONFIG, SimulatedWorld(1, Console(), {1: MemoryDisk(CAPACITY)})
    )
    for length in range(part, len(recording.entries), 3):
        console, disk = Console(), MemoryDisk(CAPACITY)
        head = recording.entries[:length]
        log, outcome = take_over(LEDGER, LEDGER_CONFIG, head, 2, console, disk)
        assert outcome.status == 0
        numbers = re.findall(r"^ledger (\d{6}) ", console.text, re.M)
        assert [int(n) for n in numbers] == list(range(1, 13))
        clocks = [int(t) for t in re.findall(r"tsc=(\d+)", console.text)]
        assert clocks == sorted(clocks)
        with machine_of(LEDGER, LEDGER_CONFIG) as machine:
            assert machine.run(Replayer(Sequence(iter(log)), machine)) == outcome


@pytest.mark.parametrize("part", range(3))
def test_threads_go_on_after_any_entry_with_their_timer(part: int) -> None:
    entries = record(PREEMPT, PREEMPT_CONFIG, SimulatedWorld(3, Console())).entries
    interrupts = [i for i, e in enumerate(entries) if e[0] == Kind.INTERRUPT]
    lengths = [0, 1, 2, len(entries) - 1, *interrupts, *(i + 1 for i in interrupts)]
    for length in sorted(lengths)[part::3]:
        console = Console()
        log, outcome = take_over(
            PREEMPT, PREEMPT_CONFIG, entries[:length], 4, console, MemoryDisk(512)
        )
        assert outcome.status == 0 and "preempt hash=" in console.text
        with machine_of(PREEMPT, PREEMPT_CONFIG) as machine:
            assert machine.run(Replayer(Sequence(iter(log)), machine)) == outcome
