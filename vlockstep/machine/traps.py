"""What a guest's traps do, each what the instruction did in whose place it stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vlockstep.machine.config import GuestConfig
from vlockstep.machine.image import Image
from vlockstep.machine.randomness import RandomRead, decode
from vlockstep.machine.sites import CPUID, PORTS, RANDOM, RDTSC, RDTSCP, Site
from vlockstep.machine.unicorncpu import cpuid

if TYPE_CHECKING:
    from vlockstep.machine.execution import Execution


class Traps:
    """Those of one guest, as exits: a method each, found by port. Each takes the number of exits
    before this one, and what the OUT wrote, which says nothing."""

    def __init__(self, machine: Execution, image: Image, config: GuestConfig) -> None:
        self._machine = machine
        self._model = config.cpu
        self.random: dict[int, RandomRead] = {}
        """By physical address, those that raise #UD instead: to set flags within a block is not
        exact in Unicorn."""
        for site in config.sites or ():
            if site.kind == RANDOM and (read := decode(_original(image, site))) is not None:
                self.random[site.address] = read
        self.by_port: dict[int, Callable[[int, int], None]] = {
            PORTS[RDTSC]: self._rdtsc,
            PORTS[RDTSCP]: self._rdtscp,
            PORTS[CPUID]: self._cpuid,
        }

    def _rdtsc(self, at: int, _written: int) -> None:
        machine = self._machine
        machine.engine.give_counter(machine.world.cycles(at), False)

    def _rdtscp(self, at: int, _written: int) -> None:
        machine = self._machine
        machine.engine.give_counter(machine.world.cycles(at), True)

    def _cpuid(self, _at: int, _written: int) -> None:
        engine = self._machine.engine
        leaf, subleaf = engine["rax"] & 0xFFFFFFFF, engine["rcx"] & 0xFFFFFFFF
        for name, value in cpuid(self._model, leaf, subleaf, engine["cr4"]).items():
            engine[name] = value


def _original(image: Image, site: Site) -> bytes:
    segment = next(s for s in image.segments if s.address <= site.address < s.end)
    at = site.address - segment.address
    return segment.data[at : at + site.length]
