"""Recordings of a guest's last minutes, which begin in the midst of its execution."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import pytest
from commands import wait_until
from recordings import Interrupting
from support import FAILING_SECTOR, config_for, failing_image, machine_of, sample

from vlockstep.debug.recording import Recording
from vlockstep.debug.timeline import open_recording
from vlockstep.debug.tracer import Tracer
from vlockstep.errors import LogError, UsageError
from vlockstep.ft.lastminutes import LastMinutesAlone
from vlockstep.host.background import BackgroundThread
from vlockstep.machine.basis import basis
from vlockstep.machine.position import Position
from vlockstep.replay.logfile import LogReader, LogWriter
from vlockstep.replay.recorder import Recorder
from vlockstep.supervise.rundir import RunDirectory
from vlockstep.testing import replay


class Enough(Exception):
    pass


class Watched(Interrupting):
    """Lets a log be flushed before some of its inputs, and ends when that has left the beginning
    behind."""

    console_offset = 0
    last: LastMinutesAlone

    def __init__(self, part: Path) -> None:
        super().__init__(61)
        self._part = part
        self._asked = 0
        self._left = 40

    def clock(self) -> tuple[int, int]:
        return self.now, self.now

    def cycles(self, at: int) -> int:
        self._flush()
        return super().cycles(at)

    def interrupt(self, position: Position, enabled: bool) -> int | None:
        self._flush()
        return super().interrupt(position, enabled)

    def _flush(self) -> None:
        self._asked += 1
        if self._asked % 20:
            return
        self.last.flush()
        with suppress(LogError), closing(LogReader(self._part)) as log:
            self._left -= log.first > 0
        if not self._left:
            raise Enough


def recorded(folder: Path, *guest: str, first: int = 0) -> tuple[Path, Path]:
    """A whole log, and that of the end."""
    name, *arguments = guest
    config = config_for(sample(name), *arguments)
    whole, part = folder / f"{name}.vlog", folder / f"{name}-end.vlog"
    world = Watched(part)
    with (
        machine_of(sample(name), config) as machine,
        LogWriter(whole, config, basis=basis()) as log,
    ):
        world.last = last = LastMinutesAlone(
            part, machine, world, BackgroundThread, lambda text: None, basis(), next=first, span=0
        )
        with suppress(Enough):
            machine.run(Recorder(last.recorder, machine, log.append))
        last.end(failed=True)
    return whole, part


@pytest.fixture(
    scope="module", params=[("clock", "--reads=1000000000"), ("preempt", "--work=1000000000")]
)
def logs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    return recorded(tmp_path_factory.mktemp("last"), *request.param)


def test_the_end_is_the_end_of_the_whole(logs: tuple[Path, Path]) -> None:
    whole, part = logs
    assert sorted(each.name for each in part.parent.iterdir()) == [part.name, whole.name]
    with open_recording(whole) as ours, open_recording(part) as theirs:
        first = theirs.recording.first
        assert 0 < first < ours.recording.count == theirs.recording.count
        assert theirs.recording.entry(first - 1) is None
        for number in range(first, theirs.recording.count):
            assert theirs.recording.entry(number) == ours.recording.entry(number)
        places = [theirs.mark]
        theirs.to_end()
        for _ in range(20):
            places.append(theirs.mark)
            theirs.step_back()
        for mark in places:
            ours.seek(mark)
            theirs.seek(mark)
            assert theirs.mark == mark and theirs.registers() == ours.registers()
            assert theirs.memory.digest() == ours.memory.digest()
        assert ours.console().endswith(theirs.console())
        theirs.run_back()
        assert theirs.mark == places[0] and not theirs.step_back()
        for target in (0, Position(0, 0), first - 1):
            with pytest.raises(UsageError):
                theirs.seek(target)
        assert theirs.mark == places[0]


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_exceptions_are_looked_for_from_its_begin_on(
    logs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, more: int
) -> None:
    """Which is behind its first keyframe if that is exact only from the next exit on."""
    with open_recording(logs[1]) as timeline:
        count = max(1, len(timeline.recording.keyframes) + more)
        monkeypatch.setattr("vlockstep.debug.timeline._KEYFRAMES", count)
        timeline.to_end()
        end = timeline.mark
        assert timeline.exception(1 << 40) is None
        assert timeline.mark == end


def test_it_is_replayed_and_traced_from_there(logs: tuple[Path, Path]) -> None:
    _, part = logs
    recording = Recording(part)
    with Tracer(recording, []) as tracer:
        told = [event for events in tracer.events() for event in events]
    recording.close()
    assert told
    command = [sys.executable, "-m", "vlockstep"]
    done = subprocess.run([*command, "replay", str(part)], capture_output=True, text=True)
    assert done.returncode == 0 and "from the keyframe before entry" in done.stdout, done
    shown = subprocess.run([*command, "log", "show", str(part)], capture_output=True, text=True)
    with closing(LogReader(part)) as log:
        assert f"\n{log.first:>8}  exits:" in shown.stdout
    with pytest.raises(LogError, match="in the midst"):
        replay(part)


def test_a_log_that_cannot_go_on_is_given_up(tmp_path: Path) -> None:
    told: list[str] = []
    config = config_for(sample("hello"))
    (tmp_path / "a.vlog").mkdir()
    with machine_of(sample("hello"), config) as machine:
        world = Watched(tmp_path / "a.vlog")
        world.last = last = LastMinutesAlone(
            tmp_path / "a.vlog", machine, world, BackgroundThread, told.append, basis()
        )
        assert machine.run(last.recorder).status == 0
        last.end(failed=True)
    assert "cannot" in told[0] and told[-1] == "what led to this was not recorded"


def test_a_guest_with_a_disk_of_its_own_and_one_that_goes_on_leave_one(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vlockstep"]
    (tmp_path / "fails.hvt").write_bytes(failing_image().content)
    disk, words = tmp_path / "disk", ["--on-error", "record", "--run-dir", "run", "--name", "it"]

    disk.write_bytes(bytes(1 << 20))

    def fail(at: bytes) -> None:
        with disk.open("r+b") as file:
            file.write(at)

    def check() -> int:
        (path,) = tmp_path.glob("*.vlog")
        with open_recording(path) as timeline:
            timeline.to_end()
            assert timeline.read(timeline.registers().rip, 2) == b"\x0f\x0b"
            assert timeline.read(FAILING_SECTOR, 1) == b"\1"
            first = timeline.recording.first
        path.unlink()
        return first

    fail(b"\1")
    run = [*command, "run", "fails.hvt", *words, "--block"]
    assert subprocess.run([*run, "disk=disk,local"], cwd=tmp_path).returncode == 1
    assert check() == 0
    fail(b"\0")
    running = subprocess.Popen([*run, "disk=disk,local"], cwd=tmp_path)
    suspend = [*command, "suspend", "it", "--run-dir", "run", "-o", "it.vsnap"]
    wait_until(lambda: subprocess.run(suspend, cwd=tmp_path).returncode == 0)
    assert running.wait() == 0
    resume = [*command, "resume", "it.vsnap", *words, "--block", "disk=disk,local"]
    running = subprocess.Popen(resume, cwd=tmp_path)
    wait_until(lambda: bool(list(tmp_path.glob("*.vlog"))))
    fail(b"\1")
    assert running.wait() == 1
    assert check() > 0


def test_guests_of_one_name_in_one_second_leave_each_its_own(tmp_path: Path) -> None:
    def run(name: str, *arguments: str) -> subprocess.Popen[bytes]:
        words = ["fault", "--name", "it", "--run-dir", name, "--on-error", "record", "--"]
        return subprocess.Popen(
            [sys.executable, "-m", "vlockstep", "run", *words, *arguments],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    runs = [run("a", "--kind=pf"), run("b", "--kind=de"), run("c", "--kind=resume")]
    assert [each.wait() for each in runs] == [255, 255, 0]
    ends = set()
    for path in tmp_path.glob("it-*.vlog"):
        with open_recording(path) as timeline:
            timeline.to_end()
            ends.add(timeline.console().splitlines()[-1])
    assert len(ends) == 2, ends


@pytest.mark.external("gdb")
def test_a_guest_that_fails_leaves_a_recording_that_opens_there(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vlockstep"]
    for guest in (["hello", "--on-error", "record"], ["fault", "--on-error", "else"]):
        subprocess.run([*command, "run", *guest], cwd=tmp_path, capture_output=True)
    assert not list(tmp_path.glob("*.vlog*"))
    words = [*command, "run", "fault", "--on-error", "record", "--", "--kind=pf"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    (log,) = tmp_path.glob("*.vlog*")
    assert done.returncode == 255 and f"vlockstep debug {log.name}" in done.stderr
    batch = tmp_path / "batch"
    batch.write_text("when\nreverse-stepi\n")
    words = [*command, "debug", str(log), "--batch", str(batch)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert "the guest ended with status 255" in done.stderr and "out dx, eax" in done.stderr
    assert "exits:" in done.stdout and "in trap_dispatch" in done.stdout, done


@pytest.mark.external("gdb")
def test_a_guest_that_runs_alone_is_looked_at(tmp_path: Path) -> None:
    """If it keeps its last minutes. It goes on, and fails later."""
    command = [sys.executable, "-m", "vlockstep"]
    (tmp_path / "fails.hvt").write_bytes(failing_image().content)
    (tmp_path / "batch").write_text("when\nreverse-stepi\nstepi\nwhen\n")
    names = ("kept", "not")
    running = []
    for name, words in zip(names, (["--on-error", "record"], []), strict=True):
        run = [*command, "run", "fails.hvt", *words, "--run-dir", "run", "--name", name]
        (tmp_path / name).write_bytes(bytes(1 << 20))
        running.append(subprocess.Popen([*run, "--block", f"disk={name}"], cwd=tmp_path))
    run_directory = RunDirectory(tmp_path / "run")
    wait_until(lambda: {*names} <= {*run_directory.names()})
    look = [*command, "debug", "--run-dir", "run", "--batch", "batch", "--live"]
    done = subprocess.run([*look, "kept"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "the guest had not ended" in done.stderr, done
    first, second = re.findall(r"^exits:\S+, before entry (\d+)", done.stdout, re.M)
    assert first == second
    done = subprocess.run([*look, "not"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and "start it with --on-error record" in done.stderr, done
    for process in running:
        assert process.poll() is None
        process.terminate()
        process.wait()


@pytest.mark.parametrize(("status", "left"), [(0, 0), (2, 0), (3, 0), (255, 1)])
def test_only_an_abort_is_a_failure_among_the_statuses(
    tmp_path: Path, status: int, left: int
) -> None:
    words = [sys.executable, "-m", "vlockstep", "run", "hello", "--on-error", "record"]
    command = [*words, "--", f"--status={status}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == status, done
    assert len([*tmp_path.glob("*.vlog")]) == left
