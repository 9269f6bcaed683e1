"""A replica's report of its divergence, beside the log that it followed."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from recordings import Interrupting, write_recording

from vlockstep.debug.diverged import examine, parse_report
from vlockstep.debug.mark import Mark
from vlockstep.debug.timeline import open_recording
from vlockstep.errors import UsageError
from vlockstep.machine.engines import UNICORN
from vlockstep.machine.machine import Machine
from vlockstep.machine.position import Position
from vlockstep.replay.logfile import LogReader
from vlockstep.replay.recorded import find_image
from vlockstep.replay.replayer import Divergence, Replayer, Sequence


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("diverged") / "preempt.vlog"
    return write_recording(path, "preempt", "--work=400", world=Interrupting(211))


def diverging(path: Path, at: Position, register: str) -> str:
    """What a replica reports in which that register changes there by itself."""
    with closing(LogReader(path)) as reader:
        config = reader.config
        image = find_image(config.image_digest, None, str(path))
        entries = list(reader.entries())
    with closing(Machine(image, config, count_blocks=True, engine=UNICORN)) as machine:

        def change() -> None:
            machine.engine[register] ^= 8

        machine.break_at(at, change, exact=False)
        with pytest.raises(Divergence) as found:
            machine.run(Replayer(Sequence(iter(entries)), machine))
    return found.value.report()


def test_both_sides_are_shown_where_the_log_has_registers(log: Path) -> None:
    report = diverging(log, Position(1, 100), "r12")
    with open_recording(log) as timeline:
        told = examine(timeline, parse_report(f"vlockstep: 12:00:00 {report}"))
        mark = timeline.mark
        assert "r12: 0x8 in the replica, 0x0 in the log, set at " + str(mark) in told
        assert "r12d" in next(line for line in told.splitlines() if line.startswith("=>"))
        assert mark < Mark(1, 100, 0)
        timeline.step()
        assert timeline.registers().r12 == 0


def test_the_replicas_side_is_compared_where_the_log_has_none(log: Path) -> None:
    report = diverging(log, Position(2, 500), "r15")
    assert "registers here:" in report
    with open_recording(log) as timeline:
        told = examine(timeline, parse_report(json.dumps({"event": "diverged", "report": report})))
    assert "r15: 0x8 in the replica, 0x0 in the log" in told
    assert "its registers were right at entry 0" in told


def test_a_report_of_something_else_is_refused(log: Path, tmp_path: Path) -> None:
    report = diverging(log, Position(1, 100), "r12")
    hello = write_recording(tmp_path / "hello.vlog", "hello")
    with open_recording(hello) as timeline:
        with pytest.raises(UsageError, match="is at exits:0, and"):
            examine(timeline, parse_report(report))
        with pytest.raises(UsageError, match="take that"):
            report = report.replace("exits:1+211", "exits:0").replace(f"{0:#018x}", f"{1:#018x}")
            examine(timeline, parse_report(report))
        with pytest.raises(UsageError, match="has 2 entries"):
            examine(timeline, parse_report(report.replace("at entry 0", "at entry 700")))
    for text in (
        "",
        "{}",
        '{"report": "divergence at entry"}',
        "divergence at entry x, exits:1: y",
    ):
        with pytest.raises(UsageError, match="no report"):
            parse_report(text)


@pytest.mark.external("gdb")
def test_gdb_begins_there(log: Path, tmp_path: Path) -> None:
    report, batch = tmp_path / "report", tmp_path / "batch"
    report.write_text(diverging(log, Position(1, 100), "r12"))
    batch.write_text("when\n")
    command = [sys.executable, "-m", "vlockstep", "debug", str(log), "--divergence", str(report)]
    done = subprocess.run([*command, "--batch", str(batch)], capture_output=True, text=True)
    place = done.stderr.partition("in the log, set at ")[2].split()[0]
    assert done.returncode == 0 and f"{place}, before entry 0" in done.stdout, done
    report.unlink()
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "cannot read the report" in done.stderr
