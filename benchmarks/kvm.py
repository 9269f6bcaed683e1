"""The engine on KVM: against the same C source as a program of this host, against Unicorn and QEMU,
and how much of an exit is vlockstep's."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from signal import SIGKILL
from statistics import median

from benchmarks import exits, pair, qemu
from benchmarks.contest import Claim, Contestant, Report, interleave, ratio
from benchmarks.guests import SampleGuest, timed
from benchmarks.kvmexit import bare_exits
from benchmarks.pairs import guest_seconds, protected
from benchmarks.programs import build, text_of
from benchmarks.sort import PROTECTED, QEMU_RECORD
from vlockstep.machine.engines import KVM, UNICORN

NEEDS = ("gcc", "make")
SORT_NEEDS = (*NEEDS, *qemu.NEEDS)
NATIVE_TARGET, QEMU_TARGET, LOOP_TARGET, PYTHON_TARGET = 1.15, 2.2, 5.0, 4.0
"""The last in microseconds."""
NATIVE, ALONE = "native", "vlockstep, unprotected"
NATIVE_TWICE = "native, two at once"
COLD, WARM = "a bare exit, answered, and a loop in Python", "that loop alone"
_OPTIONS = ("--engine", KVM)
_SORTS = 20
_EXITS = {KVM: 20_000, UNICORN: 200_000}
_LOOPS = {"x87": 300_000, "sse": 1_000_000}


def sort(directory: Path, rounds: int) -> Report:
    """From the guest's start to its end; natively, of the whole process; of QEMU, of its process
    less that of one with nothing to sort. A pair keeps two cores busy, and so do two processes."""
    build("native", directory)
    kernel = qemu.build(directory)
    argument = f"--rounds={_SORTS}"
    program = [str(directory / "sort-native"), argument]
    guest = SampleGuest(directory / "alone", "sort", argument, engine=KVM)
    texts: set[str] = set()

    def alone() -> float:
        seconds = guest.live()
        texts.add(guest.console.read_text())
        return seconds

    def paired() -> float:
        with protected(
            directory, "sort", argument, primary_options=_OPTIONS, secondary_options=_OPTIONS
        ) as pair:
            seconds = guest_seconds(pair)
            texts.add(pair.transcript.decode())
            return seconds

    native = _native(program, texts)

    def two_at_once() -> float:
        with ThreadPoolExecutor() as pool:
            return max(pool.map(lambda _: native(), range(2)))

    def recorded() -> float:
        def run(sorts: int) -> None:
            file = directory / f"qemu-{sorts}.rr"
            command = qemu.command(kernel, f"--rounds={sorts}", "record", file)
            text = text_of(command, qemu.HALTED)
            if sorts:
                texts.add(text)

        return timed(lambda: run(_SORTS)) - timed(lambda: run(0))

    contestants = [
        Contestant(NATIVE, native),
        Contestant(NATIVE_TWICE, two_at_once),
        Contestant(ALONE, alone),
        Contestant(PROTECTED, paired),
        Contestant(QEMU_RECORD, recorded),
    ]
    figures = interleave(contestants, rounds)
    _check_equal(texts)
    against_native = (
        Claim(f"time of {a} / {b}", ratio(figures, a, b), NATIVE_TARGET, False)
        for a, b in ((ALONE, NATIVE), (PROTECTED, NATIVE), (PROTECTED, NATIVE_TWICE))
    )
    speed = ratio(figures, QEMU_RECORD, PROTECTED)
    return Report(
        f"kvm: a million numbers sorted, {_SORTS} times",
        "s",
        figures,
        [*against_native, Claim(f"speed of {PROTECTED} / {QEMU_RECORD}", speed, QEMU_TARGET)],
    )


def loops(directory: Path, rounds: int) -> Report:
    """Floating point, from the guest's start to its end; natively, of the whole process."""
    build("loops", directory)
    build("native", directory)
    contestants = []
    texts: dict[str, set[str]] = {kind: set() for kind in _LOOPS}

    def live(guest: SampleGuest, kind: str) -> Callable[[], float]:
        def run() -> float:
            seconds = guest.live()
            texts[kind].add(guest.console.read_text())
            return seconds

        return run

    for kind, count in _LOOPS.items():
        argument = f"--{kind}={count}"
        program = [str(directory / "loops-native"), argument]
        contestants.append(Contestant(f"{kind}, {NATIVE}", _native(program, texts[kind])))
        for engine in (KVM, UNICORN):
            where = directory / f"{kind}-{engine}"
            guest = SampleGuest(where, str(directory / "loops.hvt"), argument, engine=engine)
            contestants.append(Contestant(f"{kind}, {engine}", live(guest, kind)))
    figures = interleave(contestants, rounds)
    for found in texts.values():
        _check_equal(found)
    claims = [
        Claim(
            f"{kind}, speed on KVM / on Unicorn",
            ratio(figures, f"{kind}, {UNICORN}", f"{kind}, {KVM}"),
            LOOP_TARGET,
        )
        for kind in _LOOPS
    ]
    return Report("kvm: loops in floating point", "s", figures, claims)


def _native(program: list[str], texts: set[str]) -> Callable[[], float]:
    return lambda: timed(lambda: texts.add(text_of(program)))


def _check_equal(texts: set[str]) -> None:
    if len(texts) != 1:
        raise RuntimeError(f"they printed {' and '.join(map(repr, texts))}")


def exit_cost(directory: Path, rounds: int) -> Report:
    """A bare exit sets registers if what it is beside is answered in registers, as RDTSC is. A loop
    of Python's, alone and after each bare exit, tells what an exit makes of Python behind it."""
    bare = {"RDTSC": "a bare exit, answered", "puts": "a bare exit"}
    contestants = [
        Contestant(bare["RDTSC"], lambda: bare_exits(_EXITS[KVM], answered=True)),
        Contestant(bare["puts"], lambda: bare_exits(_EXITS[KVM], answered=False)),
        Contestant(COLD, lambda: bare_exits(_EXITS[KVM], answered=True, work=_work)),
        Contestant(WARM, lambda: timed(_work_often, time.process_time) / _EXITS[KVM] * 1e6),
    ]
    for engine in (KVM, UNICORN):
        for what, name in (("RDTSC", "reads"), ("puts", "puts")):
            title = f"{engine}: {what}"
            contestants += exits.contestants(directory, title, name, _EXITS[engine], engine)
    figures = interleave(contestants, rounds)
    shares = {
        what: [
            whole - raw
            for whole, raw in zip(figures[f"{KVM}: {what}, recorded"], figures[name], strict=True)
        ]
        for what, name in bare.items()
    }
    claims = [
        Claim(
            f"a recorded {what} on KVM less a bare exit", median(share), PYTHON_TARGET, False, "µs"
        )
        for what, share in shares.items()
    ]
    return Report("kvm: what an exit costs, in CPU time", "µs", figures, claims)


def _work() -> None:
    """A few µs."""
    sorted(str(number) for number in range(20))


def _work_often() -> None:
    for _ in range(_EXITS[KVM]):
        _work()


def failover(directory: Path, rounds: int) -> Report:
    def killed(engine: str) -> Contestant:
        return Contestant(engine, lambda: pair.gap(directory, SIGKILL, "--engine", engine))

    figures = interleave([killed(engine) for engine in (KVM, UNICORN)], rounds)
    claim = Claim("time to live on KVM / on Unicorn", ratio(figures, KVM, UNICORN), 1.1, False)
    return Report("kvm: failover of a ledger, SIGKILL to live", "ms", figures, [claim])
