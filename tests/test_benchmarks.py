"""What the benchmarks make of their measurements. Nothing here looks at how long anything takes."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks import backwards, figure, lag, programs, qemu, sort
from benchmarks.contest import Claim, Contestant, Figures, Report, interleave, percentile, ratio
from benchmarks.events import bytes_per_entry
from benchmarks.growth import PER_ENTRY, PER_SECOND, Sample, side_by_side
from benchmarks.guests import SampleGuest
from benchmarks.kvmexit import bare_exits
from benchmarks.programs import missing, text_of
from vlockstep.machine.kvm import device
from vlockstep.testing.usage import Usage

ROOT = Path(__file__).parents[1]
ARGUMENTS = ["--n=3000", "--rounds=2"]


def run_benchmarks(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def console_of(*arguments: str) -> str:
    return text_of([sys.executable, "-m", *arguments, "--", *ARGUMENTS])


def test_contestants_take_turns_in_alternating_order() -> None:
    turns: list[str] = []

    def contestant(name: str) -> Contestant:
        def run() -> float:
            turns.append(name)
            return float(len(turns))

        return Contestant(name, run)

    figures = interleave([contestant("a"), contestant("b")], 3)
    assert turns == ["a", "b", "b", "a", "a", "b"]
    assert figures == {"a": [1, 4, 5], "b": [2, 3, 6]}
    assert ratio(figures, "a", "b") == 5 / 6


def test_a_run_may_have_several_figures() -> None:
    figures = interleave([Contestant("a", lambda: {"start": 1.0, "end": 2.0})], 2)
    assert figures == {"a, start": [1, 1], "a, end": [2, 2]}


@pytest.mark.parametrize(("percent", "expected"), [(1, 1), (50, 50), (99, 99), (100, 100)])
def test_percentile(percent: float, expected: float) -> None:
    assert percentile(range(100, 0, -1), percent) == expected
    assert percentile([7.0], percent) == 7.0


def test_a_report_has_units_claims_and_notes() -> None:
    claim = Claim("a / b", 0.5, 0.7)
    report = Report("title", "s", {"a": [1, 2, 4], "b": [2]}, [claim], {"b": "MB"}, ["no QEMU"])
    text = report.text().splitlines()
    assert text[0] == "title" and text[-1] == "  note: no QEMU"
    assert text[2].split() == ["a", "2.00", "s", "1.00", "s", "4.00", "s"]
    assert text[3].split()[:3] == ["b", "2.00", "MB"]
    assert text[4].split() == ["a", "/", "b", "0.50", "target", "≥", "0.7", "missed"]
    found = json.loads(json.dumps(report.to_dict()))
    assert found["figures"]["b"] == {"unit": "MB", "median": 2, "rounds": [2]}
    assert found["notes"] == ["no QEMU"] and not found["claims"][0]["met"]


def test_an_upper_bound_is_met_from_below() -> None:
    assert Claim("lag", 9.0, 10.0, at_least=False).met
    assert not Claim("lag", 11.0, 10.0, at_least=False).met


def test_a_missing_program_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing([]) == ""
    monkeypatch.setattr(programs.shutil, "which", lambda program: None)
    text = missing(qemu.NEEDS)
    assert "no qemu-system-x86_64 and no gcc and no make" in text
    assert text.endswith("apt-get install gcc make qemu-system-x86")


def test_an_old_pair_and_a_fresh_one_are_compared() -> None:
    begin = Sample(90.0, 9000, 10.0, 60_000_000), Sample(90.0, 0, 1.0, 50_000_000)
    end = Sample(100.0, 9500, 11.0, 70_000_000), Sample(100.0, 1000, 2.0, 60_000_000)
    assert side_by_side(begin, end, PER_ENTRY) == {
        "CPU per entry, old": pytest.approx(2000),
        "RSS, old": 70,
        "CPU per entry, fresh": pytest.approx(1000),
        "RSS, fresh": 60,
    }
    assert side_by_side(begin, end, PER_SECOND)["CPU per second, old"] == pytest.approx(100)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells this in /proc")
def test_usage_of_a_process() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        usage = Usage.of(process.pid)
        process.kill()
    assert 0 < usage.overhead <= usage.resident < 1 << 30
    assert (usage.threads, usage.descriptors > 2) == (1, True)
    assert 0 <= usage.cpu_seconds < 60


def test_bytes_per_entry_are_those_of_the_log(tmp_path: Path) -> None:
    guest = SampleGuest(tmp_path / "clock", "clock", "--reads=5000", "--walltime=1")
    assert 4 < bytes_per_entry(guest) < 12


def test_plain_unicorn_prints_what_vlockstep_prints() -> None:
    expected = console_of("vlockstep", "run", "sort")
    assert expected.startswith("sort n=3000 rounds=2 hash=")
    assert console_of("benchmarks.plain", "sort") == expected
    assert console_of("benchmarks.plain", "--slice=5000", "sort") == expected


@pytest.mark.external("qemu-system-x86_64", "gcc", "make")
def test_qemu_prints_what_vlockstep_prints(tmp_path: Path) -> None:
    kernel = qemu.build(tmp_path)
    expected = console_of("vlockstep", "run", "sort")
    for mode in ("", "record", "replay"):
        command = qemu.command(kernel, " ".join(ARGUMENTS), mode, tmp_path / "sort.rr")
        assert text_of(command, qemu.HALTED) == expected


@pytest.mark.external("qemu-system-x86_64", "gcc", "make")
def test_qemu_has_a_timer_for_preempt(tmp_path: Path) -> None:
    command = qemu.command(qemu.build(tmp_path, "preempt"), "--work=100000")
    command += ["-icount", "shift=0"]  # by which 100000 turns take 5 ms on any host
    switches = int(text_of(command, qemu.HALTED).rpartition("switches=")[2])
    assert 2 <= switches <= 100


def test_backwards_is_asked_by_the_protocol_of_gdb() -> None:
    here, there = socket.socketpair()
    with closing(here), closing(there):
        client = backwards.Client(here)
        there.sendall(b"+$T05thread:1;#d7")
        assert client.go(b"bs") >= 0
        there.sendall(b"+$T05replaylog:begin;#02")
        with pytest.raises(RuntimeError, match="ended otherwise"):
            client.go(b"bc")
        there.shutdown(socket.SHUT_WR)
        with pytest.raises(backwards.Unanswered):
            client.ask(b"bs")
        assert there.recv(100).startswith(b"$bs#d5+$bc#c5+")


@pytest.mark.external("gcc", "make")
def test_natively_sort_prints_what_vlockstep_prints(tmp_path: Path) -> None:
    programs.build("native", tmp_path)
    expected = console_of("vlockstep", "run", "sort")
    assert text_of([str(tmp_path / "sort-native"), " ".join(ARGUMENTS)]) == expected


@pytest.mark.external("gcc", "make")
def test_loops_print_the_same_natively_and_under_unicorn(tmp_path: Path) -> None:
    for target in ("native", "loops"):
        programs.build(target, tmp_path)
    arguments = ("--x87=1000", "--sse=1000")
    guest = SampleGuest(tmp_path / "guest", str(tmp_path / "loops.hvt"), *arguments)
    guest.live()
    assert guest.console.read_text() == text_of(
        [str(tmp_path / "loops-native"), " ".join(arguments)]
    )


@pytest.mark.external("qemu-system-x86_64", "gcc", "make")
def test_qemu_tells_a_status_that_is_not_0(tmp_path: Path) -> None:
    command = qemu.command(qemu.build(tmp_path), "--rows=1")
    assert text_of(command, 2 * 2 + 1) == "unknown option: --rows=1\n"


def sort_report(names: list[str]) -> Report:
    figures: Figures = {name: [1.0 + index] for index, name in enumerate(names)}
    return Report("sort", "s", figures)


def test_bars_are_grouped_and_relative_to_run() -> None:
    report = sort_report([sort.RUN, sort.PLAIN])
    assert figure.bars(report) == [("Unicorn", sort.PLAIN, 2), ("vlockstep", sort.RUN, 1)]


@pytest.mark.parametrize("shown", [("sort", "failover", "lag"), ("sort",), ("failover", "lag")])
def test_the_figure_shows_what_was_measured(tmp_path: Path, shown: tuple[str, ...]) -> None:
    pytest.importorskip("matplotlib")
    reports = {
        "sort": sort_report([sort.RUN, sort.PLAIN, sort.QEMU_RUN]),
        "failover": Report("failover", "ms", {"SIGKILL to live": [50.0, 60.0, 61.0]}),
        "lag": Report("lag", "ms", {lag.PACED: [1.0, 2.0, 3.0]}),
    }
    file = tmp_path / "figure.svg"
    figure.draw({name: reports[name] for name in shown}, file)
    first = file.read_bytes()
    assert b"</svg>" in first
    figure.draw({name: reports[name] for name in shown}, file)
    assert file.read_bytes() == first


def test_help_has_an_example() -> None:
    assert "Example: python -m benchmarks" in run_benchmarks("--help").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], "no benchmark 'nonsense'"),
        (["--rounds=0"], "--rounds must be at least 1"),
        (["exits", "--figure=x.svg"], "name one of them"),
        (["sort", "--figure=x.gif"], "not 'x.gif'"),
        (["sort", "--figure=/nowhere/x.svg"], "no directory /nowhere"),
    ],
)
def test_wrong_usage_ends_before_measuring(arguments: list[str], message: str) -> None:
    if any(argument.startswith("--figure") for argument in arguments):
        pytest.importorskip("matplotlib")
    found = run_benchmarks(*arguments)
    assert found.returncode == 2 and message in found.stderr and not found.stdout


def test_a_figure_without_matplotlib_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks import __main__ as command

    monkeypatch.setattr(figure.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "sort", "--figure", "x.svg"])
    with pytest.raises(SystemExit) as end:
        command.main()
    assert end.value.code == 2
    assert "pip install -e '.[figure]'" in capsys.readouterr().err


def unmeasurable(error: Exception) -> Callable[[Path, int], Report]:
    def measure(_directory: Path, _rounds: int) -> Report:
        raise error

    return measure


@pytest.mark.skipif(bool(device.why_not()), reason=device.why_not())
def test_a_bare_exit_and_what_is_done_after_it() -> None:
    done: list[None] = []
    assert bare_exits(10, answered=True, work=lambda: done.append(None)) > 0
    assert len(done) == 10


def test_without_kvm_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import __main__ as command

    monkeypatch.setattr(command.engines, "why_not", lambda model: "there is no /dev/kvm")
    benchmark = command.Benchmark(unmeasurable(RuntimeError("not run")), 1, on_kvm=True)
    report = command._measure("kvm", benchmark, None)
    assert report.title == "kvm: not measured" and report.notes == ["there is no /dev/kvm"]


def test_one_benchmark_that_fails_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks import __main__ as command

    benchmarks = {
        "bad": command.Benchmark(unmeasurable(RuntimeError("a reason")), 1),
        "absent": command.Benchmark(unmeasurable(RuntimeError("not run")), 1, ("make",)),
        "good": command.Benchmark(lambda _directory, rounds: Report("it", "s", {"a": [rounds]}), 3),
    }
    monkeypatch.setattr(command, "BENCHMARKS", benchmarks)
    monkeypatch.setattr(command, "missing", lambda needs: "apt-get install make" if needs else "")
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--json"])
    with pytest.raises(SystemExit) as end:
        command.main()
    assert end.value.code == 1
    written = capsys.readouterr()
    assert written.err == "bad failed: RuntimeError: a reason\n"
    found = json.loads(written.out)["benchmarks"]
    assert found["absent"]["notes"] == ["apt-get install make"]
    assert found["good"]["figures"]["a"]["rounds"] == [3]
