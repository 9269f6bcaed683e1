"""Two recordings of one guest, and where they part."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from recordings import Interrupting, write_recording, write_recording_with_keyframes
from support import ScriptedWorld, config_for, failing_image

from vlockstep.debug.difference import _Same, part, parting
from vlockstep.debug.timeline import open_recording
from vlockstep.errors import UsageError
from vlockstep.machine.registers import NAMES, Registers
from vlockstep.replay.entry import Checkpoint, Entry, Kind
from vlockstep.replay.keyframe import Keyframe
from vlockstep.replay.logfile import LogReader, LogWriter

PREEMPT = ("preempt", "--work=40", "--tsc=1")


class Slow(Interrupting):
    """Its clock makes one step that is longer."""

    def cycles(self, at: int) -> int:
        self.now += at == 2
        return super().cycles(at)


def test_they_part_where_an_input_differs(tmp_path: Path) -> None:
    a = write_recording(tmp_path / "a.vlog", *PREEMPT, world=Interrupting(211))
    b = write_recording(tmp_path / "b.vlog", *PREEMPT, world=Slow(211))
    with open_recording(a) as first, open_recording(b) as second:
        sequence = part(first.recording, second.recording)
        assert sequence is not None
        entry = first.recording.entry(sequence)
        assert entry is not None and entry[:2] == (0, 2)  # of RDTSC
        place = parting(first, second, sequence)
        assert place is not None
        assert "rdtsc" in next(line for line in place.code.splitlines() if "=>" in line)
        assert set(place.registers[0].difference(place.registers[1])) == {"rax"}


def test_they_part_where_an_interrupt_comes_to_one_alone(tmp_path: Path) -> None:
    a = write_recording(tmp_path / "a.vlog", *PREEMPT, world=Interrupting(211))
    b = write_recording(tmp_path / "b.vlog", *PREEMPT, world=Interrupting(199))
    with open_recording(a) as first, open_recording(b) as second:
        place = parting(first, second, part(first.recording, second.recording) or 0)
        assert place is not None
        assert place.mark == (2, 199, 0)
        assert "rip" in place.registers[0].difference(place.registers[1])


def test_the_command_says_whether_they_differ(tmp_path: Path) -> None:
    a = write_recording(tmp_path / "a.vlog", *PREEMPT, world=Interrupting(211))
    b = write_recording(tmp_path / "b.vlog", *PREEMPT, world=Slow(211))
    command = [sys.executable, "-m", "vlockstep", "log", "diff", str(a)]
    same = subprocess.run([*command, str(a)], capture_output=True, text=True)
    assert (same.returncode, same.stderr) == (0, "") and "no entry that differs" in same.stdout
    other = subprocess.run([*command, str(b), "--json"], capture_output=True, text=True)
    assert other.returncode == 1 and other.stderr == ""
    told = json.loads(other.stdout)
    assert told["differ"] and list(told["registers"]) == ["rax"]


def test_a_log_that_is_cut_off_has_not_just_ended(tmp_path: Path) -> None:
    a = write_recording(tmp_path / "a.vlog", "hello", world=ScriptedWorld())
    b = tmp_path / "b.vlog"
    b.write_bytes(a.read_bytes()[:-10])
    command = [sys.executable, "-m", "vlockstep", "log", "diff", str(a), str(b)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 3 and "b.vlog is cut off: the batch at offset" in done.stderr
    with closing(LogReader(b)) as log:
        count = len(list(log.entries()))
    told = done.stdout.splitlines()
    assert told[0] == f"{b} is the first {count} entries of {a}, which goes on:"
    assert len(told) == 2 and told[1].startswith("  exits:")
    for words in ([a, b], [b, a]):
        command = [sys.executable, "-m", "vlockstep", "log", "diff", *map(str, words), "--json"]
        done = subprocess.run(command, capture_output=True, text=True)
        told = json.loads(done.stdout)
        assert done.returncode == 3 and (told["differ"], told["shorter"]) == (False, str(b))
        assert told["entries"] == count and told["following"].startswith("exits:")


def test_recordings_of_two_guests_are_not_compared(tmp_path: Path) -> None:
    a = write_recording(tmp_path / "a.vlog", "hello", world=ScriptedWorld())
    b = write_recording(tmp_path / "b.vlog", "hello", "--status=3", world=ScriptedWorld())
    with (
        open_recording(a) as first,
        open_recording(b) as second,
        pytest.raises(UsageError, match="different"),
    ):
        part(first.recording, second.recording)


@pytest.mark.parametrize(
    ("changes", "kin", "other_kin", "same"),
    [(False, None, None, False), (True, None, None, True), (True, "x", "x", False),
     (True, "x", "y", True), (True, "x", None, True)],
)  # fmt: skip
def test_what_engines_have_unlike_is_compared_where_one_processor_executed_both(
    changes: bool, kin: str | None, other_kin: str | None, same: bool
) -> None:
    values = dict.fromkeys(NAMES, 0)
    packed = [
        Checkpoint(Registers({**values, "mxcsr": mxcsr}, kin)).pack()
        for mxcsr, kin in ((0x1F80, kin), (0x1FA0, other_kin))
    ]
    compare = _Same(changes)
    first, second = ((Kind.CYCLES, 1, 0, 5, each) for each in packed)
    assert compare(first, second) is same
    assert compare(first, (Kind.CYCLES, 1, 0, 5, b"")), "told of one alone"


def test_an_image_that_is_not_found_is_asked_for_by_its_option(tmp_path: Path) -> None:
    path = tmp_path / "a.vlog"
    LogWriter(path, config_for(failing_image())).close()
    for words in (["debug", "--port", "0"], ["trace"], ["log", "diff", str(path)]):
        command = [sys.executable, "-m", "vlockstep", *words, str(path)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 2 and "name the image (--image IMAGE)" in done.stderr, done


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> tuple[LogReader, list[Entry], Keyframe]:
    """What a log has, and its first keyframe, which has the whole RAM."""
    path = tmp_path_factory.mktemp("logs") / "a.vlog"
    write_recording_with_keyframes(path, "preempt", "--work=60000", "--tsc=1")
    met: list[Keyframe] = []
    with closing(LogReader(path)) as log:
        entries = list(log.entries(met.append))
    return log, entries, met[0]


def test_logs_that_do_not_begin_at_boot_are_compared_where_both_are(
    frames: tuple[LogReader, list[Entry], Keyframe], tmp_path: Path
) -> None:
    log, entries, keyframe = frames

    def write(name: str, whole: bool, end: int, changed: int = 0) -> str:
        first = 0 if whole else keyframe.sequence
        with LogWriter(tmp_path / name, log.config, None, first, log.basis) as copy:
            if not whole:
                copy.keyframe(keyframe)
            for number in range(first, end):
                kind, exits, blocks, value, checkpoint = entries[number]
                if number == changed:
                    assert isinstance(value, int)
                    value += 1
                copy.append((kind, exits, blocks, value, checkpoint))
        return str(tmp_path / name)

    def diff(a: str, b: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "vlockstep", "log", "diff", a, b]
        return subprocess.run(command, capture_output=True, text=True)

    count, begin = len(entries), keyframe.sequence
    read = [n for n, entry in enumerate(entries) if entry[0] == Kind.CYCLES and n > begin]
    whole, part = write("whole.vlog", True, count), write("part.vlog", False, count)
    same = diff(part, whole)
    assert same.returncode == 0 and f": {begin} to {count - 1} are in each" in same.stdout, same
    other = write("other.vlog", False, count, changed=read[1])
    for a, b in ((whole, other), (other, part)):
        told = diff(a, b)
        assert told.returncode == 1 and f"entry {read[1]} differs" in told.stdout, told
        assert "they part at exits:" in told.stdout and "rax" in told.stdout
    first = write("first.vlog", False, count, changed=begin)
    told = diff(whole, first)
    assert told.returncode == 1 and f"entry {begin} differs" in told.stdout, told
    cut = diff(part, write("cut.vlog", False, read[0]))
    assert cut.returncode == 3, cut
    assert f"cut.vlog has entries {begin} to {read[0] - 1} of {part}, which goes on" in cut.stdout
    apart = diff(write("begin.vlog", True, begin), part)
    assert apart.returncode == 2 and "no entry is in both logs" in apart.stderr
