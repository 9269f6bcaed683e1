"""Executions of a hostile guest: recorded, replayed and compared.

A guest must end by a halt or a guest error, or be endless; no other exception may come out of the
machine, every execution of it must be equal, and nothing outside its RAM may be touched.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import chain

from fuzz.bounded import bounded_machine, guarded
from support import MemoryDisk, config_for, disk_config, net_config

from vlockstep.host.simulated import SimulatedWorld
from vlockstep.machine.config import MIB, GuestConfig
from vlockstep.machine.image import DeviceKind, Image
from vlockstep.machine.machine import Machine
from vlockstep.machine.position import Position
from vlockstep.machine.registers import Registers
from vlockstep.machine.report import GuestError
from vlockstep.machine.world import Outcome, World
from vlockstep.replay import codec
from vlockstep.replay.entry import Entry, Kind
from vlockstep.replay.recorder import Recorder
from vlockstep.replay.replayer import Replayer
from vlockstep.replay.replayer import Sequence as LogSequence

DEVICES = [(b"disk", DeviceKind.BLOCK), (b"net", DeviceKind.NET)]
DISK, NET = 1, 2
CAPACITY = 4096
MEMORY = 4 * MIB
_MOST_BLOCKS_BETWEEN_INTERRUPTS = 20
NOTHING: Entry = (Kind.END, 1 << 62, 0, b"", b"")
"""Behind the log of a guest that was given up: fits no exit."""


class _Silence:
    """A console that takes any bytes."""

    def write(self, offset: int, data: bytes) -> None:
        assert offset >= 0 and isinstance(data, bytes)


class NoisyWorld(SimulatedWorld):
    """A simulated world in which frames arrive, and interrupts come every few blocks."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, _Silence(), {DISK: MemoryDisk(CAPACITY)})
        self._noise = random.Random(seed)

    def poll(self, at: int, timeout: int) -> int:
        super().poll(at, timeout)
        return self._noise.randrange(2) << NET

    def net_read(self, at: int, handle: int, limit: int) -> bytes | None:
        return self._noise.randbytes(min(limit, self._noise.randrange(80))) or None

    def _schedule(self, position: Position) -> None:
        step = self._noise.randint(1, _MOST_BLOCKS_BETWEEN_INTERRUPTS)
        self._next = Position(position.exits, position.blocks + step)


@dataclass
class Ending:
    """Where and how an execution ended; `outcome` is None if the guest was given up."""

    outcome: Outcome | None
    position: Position
    registers: Registers
    memory: bytes


def config_of(image: Image, cpu: str) -> GuestConfig:
    return config_for(
        image, memory=MEMORY, cpu=cpu, blocks=disk_config(CAPACITY), nets=net_config("net")
    )


def check(image: Image, cpu: str, seed: int, rewrites: bool = False) -> None:
    """Record and replay: with blocks counted, and without if the guest ends by itself.

    Whether blocks are counted makes no difference to a guest, unless its code `rewrites` itself:
    Unicorn reports a fault of a fetch at the start of the block, and then begins blocks elsewhere.
    """
    config = config_of(image, cpu)
    with guarded():
        counted = _lockstep(partial(bounded_machine, image, config), seed)
        if counted.outcome is not None:
            uncounted = _lockstep(partial(Machine, image, config), seed)
            assert rewrites or uncounted == counted


def _lockstep(make: Callable[[], Machine], seed: int) -> Ending:
    entries: list[Entry] = []
    with closing(make()) as machine:
        recorded = _run(machine, Recorder(NoisyWorld(seed), machine, entries.append))
    if entries:
        assert codec.decode(codec.encode(0, entries)) == (0, entries)
    with closing(make()) as machine:
        source = LogSequence(chain(entries, [NOTHING]))
        replayed = _run(machine, Replayer(source, machine))
    assert replayed == recorded
    return recorded


def _run(machine: Machine, world: World) -> Ending:
    try:
        end = machine.run(world)
    except GuestError as error:
        assert error.report()
        end = error.outcome
    outcome = end if isinstance(end, Outcome) else None
    position = machine.position if outcome is None else outcome.position
    return Ending(outcome, position, machine.registers(), machine.memory.digest())
