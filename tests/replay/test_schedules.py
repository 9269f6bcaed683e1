"""A hundred random schedules of two racing threads, each recorded and replayed."""

from __future__ import annotations

import pytest
from support import Console, config_for, record, replay, sample

from vlockstep.host.simulated import SimulatedWorld
from vlockstep.replay.entry import Kind

IMAGE = sample("preempt")
CONFIG = config_for(IMAGE, "--work=40000", "--period=10000", memory=4 << 20)
GROUPS = [range(first, first + 10) for first in range(0, 100, 10)]


def run(seed: int) -> tuple[str, bytes]:
    """Record and replay; what the threads computed, and the memory they left."""
    console = Console()
    recording = record(IMAGE, CONFIG, SimulatedWorld(seed, console))
    assert recording.outcome.status == 0, console.text
    assert sum(e[0] == Kind.INTERRUPT for e in recording.entries) >= 2
    assert replay(IMAGE, CONFIG, recording.entries) == recording.outcome
    return console.text, recording.outcome.memory_digest


@pytest.mark.parametrize("seeds", GROUPS, ids=lambda seeds: f"seeds {seeds[0]} to {seeds[-1]}")
def test_every_schedule_is_replayed_and_no_two_agree(seeds: range) -> None:
    results = [run(seed) for seed in seeds]
    assert len({text for text, _ in results}) == len(seeds)
    assert len({digest for _, digest in results}) == len(seeds)
