"""Going to any place of a recording of an hour of guest time, which has a keyframe each second.

The hour passes in virtual time, as the guests sleep or compute little of it: `ledger` writes 20
lines a second, `writer` 0.3 MB of its 32 MiB anew, which no compression makes smaller.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from statistics import median

from benchmarks.contest import Claim, Contestant, Report, interleave, progress
from benchmarks.guests import timed
from vlockstep import BlockConfig, GuestConfig, LogWriter, Machine, Recorder, open_image
from vlockstep.debug.timeline import Timeline, open_recording
from vlockstep.host.simulated import SimulatedWorld
from vlockstep.machine.basis import basis
from vlockstep.replay.entry import Entry
from vlockstep.replay.keyframes import KeyframeMaker

TARGET = 1.0
_SECONDS = 3600
_BILLION = 1_000_000_000
_LINES, _BLOCK = 20, 512
_READING = 65_000_000
"""Nanoseconds between two readings of `writer`'s clock."""
_SEEKS = 20


def measure(directory: Path, rounds: int) -> Report:
    lines = _LINES * _SECONDS
    ledger = (f"--lines={lines}", f"--pause={1000 // _LINES}")
    disk = _Disk(lines * _BLOCK)
    logs = {
        "ledger": _record(directory, "ledger", ledger, SimulatedWorld(1, _Silence(), {1: disk})),
        "writer": _record(
            directory,
            "writer",
            ("--touch=32", "--rewrite=32", "--rounds=0", f"--seconds={_SECONDS}"),
            _Slow(1, _Silence()),
        ),
    }
    figures = interleave([Contestant(name, _seeks(log)) for name, log in logs.items()], rounds)
    claims = [
        Claim(f"{name}, slowest", max(figures[f"{name}, slowest"]), TARGET, False, "s")
        for name in logs
    ]
    return Report("hour: anywhere in a recording of an hour", "s", figures, claims)


class _Silence:
    def write(self, offset: int, data: bytes) -> None:
        pass


class _Disk:
    def __init__(self, size: int) -> None:
        self._content = bytearray(size)

    def read(self, offset: int, length: int) -> bytes:
        return bytes(self._content[offset : offset + length])

    def write(self, offset: int, data: bytes) -> None:
        self._content[offset : offset + len(data)] = data


class _Slow(SimulatedWorld):
    def cycles(self, at: int) -> int:
        self._cycles += _READING
        return self._cycles


def _record(directory: Path, guest: str, arguments: tuple[str, ...], world: SimulatedWorld) -> Path:
    progress(f"an hour of {guest} is recorded")
    log = directory / f"{guest}.vlog"
    image = open_image(guest)
    blocks = {"disk": BlockConfig(_LINES * _SECONDS * _BLOCK)} if guest == "ledger" else {}
    config = GuestConfig(image.digest, arguments=arguments, blocks=blocks)
    begin = due = world.clock()[0]
    with (
        closing(Machine(image, config)) as machine,
        LogWriter(log, config, basis=basis()) as writer,
    ):

        def append(entry: Entry) -> None:
            nonlocal due
            if world.clock()[0] >= due and (keyframe := maker.before(entry, writer.next)):
                writer.keyframe(keyframe)
                due = world.clock()[0] + _BILLION
            writer.append(entry)

        recorder = Recorder(world, machine, append)
        maker = KeyframeMaker(machine, world, recorder)
        outcome = machine.run(recorder)
    if world.clock()[0] - begin < _SECONDS * _BILLION:
        raise RuntimeError(f"{guest} ended too early: {outcome}")
    return log


def _seeks(log: Path) -> Callable[[], Mapping[str, float]]:
    chance = random.Random(1)

    def run() -> Mapping[str, float]:
        opened: list[Timeline] = []
        opening = timed(lambda: opened.append(open_recording(log)))
        with opened[0] as timeline:
            found = []
            for _ in range(_SEEKS):
                entry = chance.randrange(timeline.recording.count)
                found.append(timed(lambda entry=entry: timeline.seek(entry)))  # type: ignore[misc]
        return {"opened in": opening, "median": median(found), "slowest": max(found)}

    return run
