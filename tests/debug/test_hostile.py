"""Recordings that are damaged though all their checksums fit, or change while one looks at them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgpack
import pytest
from fuzz.log import seal
from support import MIB, config_for, record_with_keyframes, sample

from vlockstep.debug.commands import Commands
from vlockstep.debug.diverged import parse_report
from vlockstep.debug.stops import Breakpoint
from vlockstep.debug.timeline import Timeline, open_recording
from vlockstep.errors import LogError, UsageError, VlockstepError
from vlockstep.host.devices import ConsoleStream
from vlockstep.host.live import LiveWorld
from vlockstep.machine.basis import basis
from vlockstep.machine.machine import Machine
from vlockstep.machine.state import MachineState
from vlockstep.replay.frames import FrameReader
from vlockstep.replay.logfile import MAGIC, LogWriter

IMAGE = sample("clock")
Frames = list[bytes]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, config = tmp_path_factory.mktemp("log") / "whole.vlog", config_for(IMAGE, "--reads=300")
    with (
        closing(Machine(IMAGE, config, engine="unicorn")) as machine,
        LogWriter(path, config, basis=basis()) as log,
    ):
        record_with_keyframes(machine, LiveWorld(ConsoleStream()), log)
    return path


def frames(path: Path) -> Frames:
    with closing(FrameReader(path, MAGIC, "log", "batch", LogError)) as reader:
        found = []
        while (content := reader.next()) is not None:
            found.append(content)
        return found


def write(path: Path, contents: Frames) -> None:
    heads = (struct.pack("<III", len(content), 0, 0) + content for content in contents)
    path.write_bytes(seal(MAGIC + b"".join(heads)))


def keyframes(contents: Frames) -> list[int]:
    return [n for n, content in enumerate(contents) if b"keyframe" in content[:32] and n]


def walk(timeline: Timeline) -> list[str]:
    """Here and there; what was said."""
    commands, said = Commands(timeline), []
    words = [
        "why-ended",
        "seek begin",
        "console",
        "seek entry:250",
        "seek exits:120",
        "back",
        "when",
    ]
    for line in words:
        try:
            said.append(commands.carry_out(line))
        except VlockstepError as error:
            said.append(str(error))
    return said


def damage(content: bytes, **changes: object) -> bytes:
    fields = msgpack.unpackb(content)
    packed: bytes = msgpack.packb(fields | changes)
    return packed


@pytest.mark.parametrize("which", ["all", "last"])
def test_a_keyframe_that_is_damaged_is_not_begun_from(
    whole: Path, tmp_path: Path, which: str
) -> None:
    contents, path = frames(whole), tmp_path / "damaged.vlog"
    places = keyframes(contents)
    assert len(places) > 5
    for n in places if which == "all" else places[-1:]:
        contents[n] = damage(contents[n], memory=[b"no group of pieces"], whole=True)
    write(path, contents)
    with open_recording(path, IMAGE) as ours, open_recording(whole, IMAGE) as theirs:
        assert walk(ours) == walk(theirs)


def test_a_keyframe_of_another_place_costs_a_detour(whole: Path, tmp_path: Path) -> None:
    """Behind it the guest does not do what the log says."""
    contents, path = frames(whole), tmp_path / "elsewhere.vlog"
    first, *others = keyframes(contents)
    wrong = msgpack.unpackb(contents[first])
    for n in others:
        right = msgpack.unpackb(contents[n])
        state = MachineState.unpack(wrong["machine"])
        there = MachineState.unpack(right["machine"]).position
        fields = [*msgpack.unpackb(state.pack(), use_list=False)]
        fields[fields.index(tuple(state.position))] = tuple(there)
        contents[n] = damage(
            contents[n], machine=msgpack.packb(fields), memory=wrong["memory"], whole=True
        )
    write(path, contents)
    with open_recording(path, IMAGE) as timeline:
        assert len(walk(timeline)) == 7
        timeline.to_end()
        assert timeline.run_back([Breakpoint(IMAGE.entry)]).stop is not None


def swapped(contents: Frames) -> None:
    contents[-1], contents[-3] = contents[-3], contents[-1]


def lost(contents: Frames) -> None:
    places = keyframes(contents)
    del contents[places[2] + 1]


def lying(contents: Frames) -> None:
    n = keyframes(contents)[3]
    contents[n] = damage(contents[n], position=[10_000, 0])


def early(contents: Frames) -> None:
    n = keyframes(contents)[3]
    contents[n] = damage(contents[n], sequence=3)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (swapped, "where .* should be"),
        (lost, "where .* should be"),
        (lying, "malformed keyframe before entry"),
        (early, "where .* should be"),
    ],
)
def test_what_is_out_of_order_is_refused(
    whole: Path, tmp_path: Path, spoil: Callable[[Frames], None], problem: str
) -> None:
    contents, path = frames(whole), tmp_path / "spoiled.vlog"
    spoil(contents)
    write(path, contents)
    with pytest.raises(LogError, match=problem):
        open_recording(path, IMAGE)


@pytest.mark.parametrize("change", ["cut", "zeros", "shuffled"])
def test_a_recording_that_changes_ends_where_it_cannot_be_read(
    whole: Path, tmp_path: Path, change: str
) -> None:
    path, content = tmp_path / "changing.vlog", whole.read_bytes()
    path.write_bytes(content)
    spoiled = {"cut": content[:2000], "zeros": bytes(len(content)), "shuffled": content[::-1]}
    with open_recording(path, IMAGE) as timeline:
        with path.open("r+b") as file:
            file.write(spoiled[change])
            file.truncate(len(spoiled[change]))
        said = walk(timeline)
        assert "changed while it was read" in said[0] or "damaged" in said[0], said[0]
        assert said[-1].startswith("exits:")


def test_a_report_that_is_nested_without_end_is_none() -> None:
    with pytest.raises(UsageError, match="no report of a divergence"):
        parse_report('{"divergence at entry": ' + "[" * MIB)
