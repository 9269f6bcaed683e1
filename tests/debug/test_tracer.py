"""What a recorded guest does, told as a trace."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from recordings import Interrupting, write_recording
from support import ScriptedWorld, sample

from vlockstep.debug.calls import Calls, functions
from vlockstep.debug.recording import Recording
from vlockstep.debug.stops import Breakpoint, Why
from vlockstep.debug.timeline import open_recording
from vlockstep.debug.tracer import Edge, Event, Tracer, What
from vlockstep.errors import UsageError
from vlockstep.machine.position import BOOT
from vlockstep.replay.logfile import LogReader, LogWriter

FIRST = Edge(BOOT)


@pytest.fixture(scope="module")
def preempt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trace") / "preempt.vlog"
    return write_recording(path, "preempt", "--work=400", world=Interrupting(211))


def traced(path: Path, *names: str, begin: Edge = FIRST, end: Edge | None = None) -> list[Event]:
    recording = Recording(path)
    wanted = functions(recording.image, names)
    with Tracer(recording, wanted, begin, end) as tracer:
        found = [event for events in tracer.events() for event in events]
        assert tracer.ending
    recording.close()
    return found


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vlockstep", "trace", *words]
    return subprocess.run(command, capture_output=True, text=True)


def test_each_call_has_its_return_and_each_entry_its_event(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "hello.vlog", "hello")
    events = traced(path)
    open_now: list[str] = []
    for event in events:
        if event.what is What.CALL:
            assert event.depth == len(open_now)
            open_now.append(event.name)
        elif event.what is What.RETURN:
            assert open_now.pop() == event.name and event.depth == len(open_now)
            assert set(event.details) == {"value"}
    assert open_now == ["_start", "runtime_start", "guest_exit"]  # none of which returns
    exits = [event for event in events if event.what is What.EXIT]
    assert [(each.name, each.details["entry"]) for each in exits] == [("console", 0), ("end", 1)]
    assert exits[0].details["text"] == "Hello from vlockstep\n"
    printing = next(e for e in events if e.name == "print_text")
    assert printing.details["rsi"] == len("Hello from vlockstep\n")


def test_interrupts_and_their_handlers_are_told(preempt: Path) -> None:
    events = traced(preempt)
    recording = Recording(preempt)
    numbers = [e.details["entry"] for e in events if e.what in (What.EXIT, What.INTERRUPT)]
    assert numbers == list(range(recording.count))
    recording.close()
    interrupts = [n for n, event in enumerate(events) if event.what is What.INTERRUPT]
    assert {*events[interrupts[0]].details} == {"entry", "vector"}
    assert all(events[n + 1].what is What.CALL for n in interrupts)
    times = [event.time for event in events]
    assert times == sorted(times)


@pytest.mark.parametrize(
    ("kind", "vector", "code", "address"),
    [
        ("pf", 14, 0, 0x18),
        ("gp", 13, 0x78, None),
        ("ud", 6, None, None),
        ("bp", 3, None, None),
        ("df", 8, 0, None),
        ("int", 128, None, None),
    ],
)
def test_exceptions_are_told_before_their_handler(
    tmp_path: Path, kind: str, vector: int, code: int | None, address: int | None
) -> None:
    world = ScriptedWorld()
    path = write_recording(tmp_path / "fault.vlog", "fault", f"--kind={kind}", world=world)
    events = traced(path)
    at = next(n for n, event in enumerate(events) if event.what is What.EXCEPTION)
    told = events[at]
    rip = int(world.text.split("rip=")[1].split()[0], 16)
    expected = {"vector": vector, "error": code, "address": address, "rip": rip}
    assert told.details == {name: each for name, each in expected.items() if each is not None}
    assert (events[at + 1].what, events[at + 1].name) == (What.CALL, "trap_common")
    assert told.position < events[at + 1].position
    assert sum(event.what is What.EXCEPTION for event in events) == 1


def test_an_exception_is_told_people_programs_and_perfetto(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "fault.vlog", "fault", "--kind=pf")
    assert "exception page fault (#14): error 0x0, address 0x18, rip 0x" in run(str(path)).stdout
    told = next(
        each for each in lines(run(str(path), "--json").stdout) if each["kind"] == "exception"
    )
    assert (told["name"], told["vector"], told["address"]) == ("page fault (#14)", 14, 0x18)
    chrome = tmp_path / "fault.json"
    assert run(str(path), "--chrome", str(chrome)).returncode == 0
    records = json.loads(chrome.read_text())["traceEvents"]
    shown = next(record for record in records if record.get("cat") == "exception")
    assert (shown["ph"], shown["args"]["vector"], shown["args"]["address"]) == ("i", 14, "0x18")


def test_what_comes_before_a_divergence_is_told(tmp_path: Path) -> None:
    path, other = write_recording(tmp_path / "hello.vlog", "hello"), tmp_path / "other.vlog"
    with closing(LogReader(path)) as log, LogWriter(other, log.config, basis=log.basis) as written:
        for kind, exits, blocks, _, _ in log.entries():
            written.append((kind, exits, blocks, bytes(8), b""))
    done = run(str(other))
    assert done.returncode == 1 and "divergence at entry 0" in done.stderr
    assert done.stdout.splitlines()[-1].split()[2].startswith("print_text(0x")


def test_a_part_is_that_part_of_the_whole(preempt: Path) -> None:
    whole = traced(preempt, "tick")
    assert {event.name for event in whole if event.what is What.CALL} == {"tick"}
    places = sorted({event.position for event in whole})
    begin, end = places[2], places[-1]
    part = traced(preempt, "tick", begin=Edge(begin), end=Edge(end))
    expected = [e for e in whole if begin <= e.position < end]
    assert len(part) > 1
    assert [e.position for e in part if e.what is What.CALL] == [
        e.position for e in expected if e.what is What.CALL
    ]
    with pytest.raises(UsageError, match="before"):
        traced(preempt, begin=Edge(end), end=Edge(begin))


def test_a_part_is_exact_to_the_instruction(preempt: Path) -> None:
    """Within the blocks with which a function begins, and an exit is made."""
    with open_recording(preempt) as timeline:
        tick = {name: at for at, name in timeline.image.symbols}["tick"]
        stops = [Breakpoint(tick)]
        edges = []
        for calls in (2, 3):
            for _ in range(calls):
                assert timeline.run(stops).why is Why.STOP
            edges.append(Edge.at(timeline))
            timeline.step()
            edges.append(Edge.at(timeline))
        timeline.seek(16)
        timeline.step()
        edges.append(Edge.at(timeline))
    before, behind, later, end, last = edges
    assert behind.steps and end.steps and last.steps

    def calls_between(begin: Edge, end: Edge) -> int:
        told = traced(preempt, "tick", begin=begin, end=end)
        numbers = [e.details["entry"] for e in told if e.what in (What.EXIT, What.INTERRUPT)]
        assert numbers == list(range(begin.sequence, end.sequence))
        return sum(event.what is What.CALL for event in told)

    assert calls_between(before, behind) == 1 and calls_between(behind, behind) == 0
    assert calls_between(before, end) == 4 and calls_between(behind, end) == 3
    assert calls_between(behind, later) == 2
    assert calls_between(behind, last) >= 3
    with pytest.raises(UsageError, match="before"):
        traced(preempt, begin=end, end=behind)


def test_who_jumps_out_of_functions_is_found_by_the_stack() -> None:
    calls = Calls()
    for stack, name in ((100, "main"), (90, "work"), (80, "deep")):
        assert calls.enter(stack, name) == []
    assert calls.enter(90, "next") == ["deep", "work"]
    assert list(calls.leave(100)) == [(True, "next"), (False, "main")]
    for n in range(5000):
        calls.enter(100_000 - n, "again")
    assert calls.depth == 4096


def test_a_name_that_is_none_is_refused_with_a_guess() -> None:
    with pytest.raises(UsageError, match="did you mean guest_main"):
        functions(sample("hello"), ["guest_mian"])


def lines(text: str) -> Iterator[dict[str, object]]:
    return map(json.loads, text.splitlines())


def test_the_command_tells_people_programs_and_perfetto(preempt: Path, tmp_path: Path) -> None:
    words = (str(preempt), "--function", "tick", "--to", "entry:12")
    text = run(*words)
    assert text.returncode == 0 and "tick(0x" in text.stdout and "interrupt" in text.stdout
    assert "the trace was to end at exits:" in text.stderr
    told = list(lines(run(*words, "--json").stdout))
    assert len(told) == len(text.stdout.splitlines())
    assert {"call", "return", "interrupt"} <= {str(each["kind"]) for each in told}
    chrome = tmp_path / "preempt.json"
    done = run(*words, "--chrome", str(chrome))
    assert done.returncode == 0 and done.stdout == "" and f"{len(told)} events" in done.stderr
    head, *records = json.loads(chrome.read_text())["traceEvents"]
    assert head["args"] == {"name": "preempt.hvt"} and len(records) == len(told)
    assert {record["ph"] for record in records} == {"B", "E", "i"}
    assert [record["ts"] * 1000 for record in records] == [each["time_ns"] for each in told]


def test_time_of_a_guest_that_never_reads_its_clock(tmp_path: Path) -> None:
    log = str(write_recording(tmp_path / "hello.vlog", "hello"))
    whole, part = run(log), run(log, "--from", "time:0")
    assert whole.returncode == part.returncode == 0 and whole.stdout == part.stdout != ""
    assert "never reads its clock: each block and event counts as a nanosecond" in whole.stderr
    for place in ("time:1", "time:0.000000001"):
        done = run(log, "--from", place)
        assert done.returncode == 2 and "only time:0 is a place" in done.stderr


def test_a_time_that_the_clock_never_shows_is_told(tmp_path: Path) -> None:
    log = str(write_recording(tmp_path / "clock.vlog", "clock", "--reads=9"))
    done = run(log, "--from", "time:1000")
    assert done.returncode == 2 and "never shows 1000.000000000 s" in done.stderr
    assert re.search(r"but at most \d+\.\d{9} s", done.stderr)
    assert "never reads" not in run(log, "--function", "print").stderr


def test_what_cannot_be_traced_is_refused(preempt: Path, tmp_path: Path) -> None:
    log = str(preempt)
    nowhere = str(tmp_path / "no" / "where.json")
    for words, status in (
        ((log, "--function", "nobody"), 2),
        ((log, "--from", "entry:9", "--to", "entry:3"), 2),
        ((log, "--from", "exits:99999999"), 2),
        ((log, "--chrome", log), 2),
        ((log, "--chrome", nowhere), 1),
        ((log, "--chrome", nowhere, "--json"), 2),
    ):
        done = run(*words)
        assert (done.returncode, done.stdout) == (status, ""), done
        assert "Traceback" not in done.stderr and done.stderr
