"""The writer: what it prints, and that it notices memory that is not what it wrote."""

from __future__ import annotations

import re

import pytest
from support import Console, config_for, machine_of, sample

from vlockstep.host.simulated import SimulatedWorld
from vlockstep.machine.machine import Machine
from vlockstep.machine.world import Outcome

WRITER = sample("writer")


class Flipping(Console):
    """Flips a bit of the guest's RAM in each of some bytes as soon as it prints that it has filled
    it."""

    def __init__(self, machine: Machine, flips: tuple[int, ...]) -> None:
        super().__init__()
        self.machine = machine
        self.flips = flips

    def write(self, offset: int, data: bytes) -> None:
        super().write(offset, data)
        if data.startswith(b"writer touched="):
            for address in self.flips:
                (byte,) = self.machine.memory.peek(address, 1)
                self.machine.memory.write(address, bytes([byte ^ 8]))


def run(*arguments: str, flips: tuple[int, ...] = ()) -> tuple[Outcome, str]:
    with machine_of(WRITER, config_for(WRITER, *arguments)) as machine:
        console = Flipping(machine, flips)
        return machine.run(SimulatedWorld(5, console)), console.text


def test_it_writes_so_many_rounds_and_tells_the_longest_gap() -> None:
    outcome, text = run("--touch=2", "--rewrite=1", "--rounds=3")
    assert outcome.status == 0
    first, *gaps, last = text.splitlines()
    assert first == "writer touched=512 rewritten=256 pages"
    told = [int(re.fullmatch(r"writer longest=(\d+) us round=[123]", gap)[1]) for gap in gaps]  # type: ignore[index]
    assert told and told == sorted(set(told))
    found = re.fullmatch(r"writer rounds=3 longest=(\d+) us in \d+ us", last)
    assert found and int(found[1]) == told[-1]


def test_it_ends_with_its_time_and_tells_meanwhile_how_far_it_is() -> None:
    outcome, text = run("--touch=1", "--rewrite=0", "--rounds=0", "--seconds=1", "--beat=100")
    assert outcome.status == 0
    assert len(re.findall(r"^writer round=\d+ lately=\d+ us$", text, re.M)) > 1
    found = re.search(r" in (\d+) us$", text)
    assert found and int(found[1]) >= 1_000_000


@pytest.mark.parametrize("page", [0, 255, 256, 511])
@pytest.mark.parametrize("offset", [0, 4095])
def test_a_bit_that_is_not_what_it_wrote_ends_it(page: int, offset: int) -> None:
    begin = -(-WRITER.end // 4096) * 4096
    flip = begin + page * 4096 + offset
    outcome, text = run("--touch=2", "--rewrite=1", "--rounds=200", flips=(flip,))
    assert outcome.status == 1
    assert text.endswith(f"writer: page {page} does not hold what was written in round 0\n")


@pytest.mark.parametrize("arguments", [("--touch=1", "--rewrite=2"), ("--touch=100000",)])
def test_more_memory_than_there_is(arguments: tuple[str, ...]) -> None:
    outcome, text = run(*arguments)
    assert (outcome.status, text) == (2, "writer: there is not as much memory to write\n")
