"""Pure computation: the same C source under plain Unicorn, vlockstep and QEMU.

Guest time is that of a whole process, from its start to its end, less that of the same process
when the guest has nothing to sort. That is done to every contestant alike; of the pair it is the
time from starting the first process to the end of both.

Plain Unicorn has the image in one flat mapping. vlockstep is faster because its guests have page
tables that mark data as not executable, which spares Unicorn its slow path for stores; it also
counts no blocks while the guest has no timer. QEMU is a newer TCG than Unicorn's, and checks for
a request to stop with a load and a branch in every block, where Unicorn calls a function.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import qemu
from benchmarks.contest import Claim, Contestant, Report, interleave, ratio
from benchmarks.pairs import finish, protected
from benchmarks.programs import missing, text_of

PLAIN_TARGET = 1.7
QEMU_TARGET = 1.6
PLAIN, COUNTED = "plain Unicorn", "Unicorn, counting instructions"
RUN, RECORD, REPLAY = "vlockstep run", "vlockstep record", "vlockstep replay"
PROTECTED = "vlockstep primary with a live secondary"
QEMU_RUN, QEMU_RECORD, QEMU_REPLAY = "QEMU", "QEMU rr=record", "QEMU rr=replay"
_SORTS = 3
_SLICE = 100_000

Engine = Callable[[int], str]
"""Runs a guest that sorts so many times, and returns what it prints."""


def measure(directory: Path, rounds: int) -> Report:
    engines = {
        PLAIN: lambda sorts: text_of(_module("benchmarks.plain", "sort", sorts)),
        COUNTED: lambda sorts: text_of(
            _module("benchmarks.plain", f"--slice={_SLICE} sort", sorts)
        ),
        **_vlockstep(directory),
    }
    claims = {"run": (PLAIN, RUN, PLAIN_TARGET)}
    lacking = missing(qemu.NEEDS)
    if not lacking:
        engines |= _qemu(directory)
        claims |= {
            "primary with a live secondary": (QEMU_RECORD, PROTECTED, QEMU_TARGET),
            "replay": (QEMU_REPLAY, REPLAY, QEMU_TARGET),
        }
    texts: dict[int, str] = {}
    figures = interleave(
        [Contestant(name, _guest_time(name, run, texts)) for name, run in engines.items()], rounds
    )
    return Report(
        "sort: a million numbers, three times, in guest time",
        "s",
        figures,
        [
            Claim(f"speed of {name} / {slower}", ratio(figures, slower, faster), target)
            for name, (slower, faster, target) in claims.items()
        ],
        notes=[f"without QEMU: {lacking}"] if lacking else [],
    )


def _guest_time(name: str, run: Engine, texts: dict[int, str]) -> Callable[[], float]:
    """In seconds. `texts` is what every engine prints."""

    def seconds(sorts: int) -> float:
        start = time.perf_counter()
        text = run(sorts)
        end = time.perf_counter()
        if text != texts.setdefault(sorts, text):
            raise RuntimeError(f"{name} printed {text!r}, others {texts[sorts]!r}")
        return end - start

    return lambda: seconds(_SORTS) - seconds(0)


def _module(module: str, arguments: str, sorts: int) -> list[str]:
    return [sys.executable, "-m", module, *arguments.split(), "--", _option(sorts)]


def _option(sorts: int) -> str:
    return f"--rounds={sorts}"


def _vlockstep(directory: Path) -> dict[str, Engine]:
    def log(sorts: int) -> Path:
        return directory / f"sort-{sorts}.vlog"

    def record(sorts: int) -> str:
        return text_of(_module("vlockstep", f"record sort -o {log(sorts)}", sorts))

    def replay(sorts: int) -> str:
        console = directory / "replayed.txt"
        command = [sys.executable, "-m", "vlockstep", "replay", str(log(sorts))]
        text_of([*command, "--console", str(console)])
        return console.read_text()

    def pair(sorts: int) -> str:
        with protected(directory, "sort", _option(sorts)) as pair:
            finish(pair)
            return pair.transcript.decode()

    return {
        RUN: lambda sorts: text_of(_module("vlockstep", "run sort", sorts)),
        RECORD: record,
        PROTECTED: pair,
        REPLAY: replay,
    }


def _qemu(directory: Path) -> dict[str, Engine]:
    kernel = qemu.build(directory)

    def run(sorts: int, mode: str) -> str:
        recording = directory / f"qemu-{sorts}.rr"
        return text_of(qemu.command(kernel, _option(sorts), mode, recording), qemu.HALTED)

    return {
        QEMU_RUN: lambda sorts: run(sorts, ""),
        QEMU_RECORD: lambda sorts: run(sorts, "record"),
        QEMU_REPLAY: lambda sorts: run(sorts, "replay"),
    }
