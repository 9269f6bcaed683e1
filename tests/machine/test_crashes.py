"""A guest that makes Unicorn crash ends by an error of its own; nothing else does."""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from greenlet import getcurrent, greenlet
from support import (
    DATA,
    HALT,
    TEXT,
    ScriptedWorld,
    config_for,
    crash,
    halt,
    hypercall,
    machine_of,
    make_image,
    replay,
)

from vlockstep.machine import erratahooks
from vlockstep.machine.guard import SIGNALS, guarded
from vlockstep.machine.report import GuestError
from vlockstep.machine.world import NoAnswer, Outcome
from vlockstep.replay.entry import Entry, Kind
from vlockstep.replay.recorder import Recorder
from vlockstep.replay.replayer import Divergence


def test_a_guest_that_crashes_unicorn() -> None:
    image = make_image(crash())
    for _ in range(3):
        world = ScriptedWorld()
        with machine_of(image) as machine, pytest.raises(GuestError) as error:
            machine.run(world)
        assert error.value.reason == "the CPU engine crashed (SIGABRT)"
        assert "lcall 0x2b, 0" in error.value.code
        assert TEXT <= error.value.registers["rip"] < TEXT + len(crash())
        assert world.outcome is not None and not world.outcome.exact


@pytest.mark.parametrize("number", SIGNALS)
def test_every_signal_of_a_crash_is_its_result(number: signal.Signals) -> None:
    strike = guarded(ctypes.CDLL(None)["raise"])
    assert [strike(number, 0, 0, 0, 0) for _ in range(2)] == [-number, -number]


def test_the_instruction_is_shown_though_its_block_is_long() -> None:
    image = make_image(crash(before=b"\x90" * 30))
    with machine_of(image) as machine, pytest.raises(GuestError) as error:
        machine.run(ScriptedWorld())
    assert "lcall 0x2b, 0" in error.value.code


def run_crash() -> None:
    image = make_image(crash())
    with machine_of(image) as machine, pytest.raises(GuestError, match=r"crashed \(SIGABRT\)"):
        machine.run(ScriptedWorld())


class Within(ScriptedWorld):
    """Calls something in an exit."""

    def __init__(self, action: Callable[[], object]) -> None:
        super().__init__()
        self._action = action

    def walltime(self, at: int) -> int:
        self._action()
        return super().walltime(at)


def within(action: Callable[[], object]) -> int | None:
    image = make_image(hypercall(1, DATA) + halt(), {HALT: struct.pack("<Qi", 0, 3)})
    with machine_of(image) as machine:
        outcome = machine.run(Within(action))
        assert isinstance(outcome, Outcome)
        return outcome.status


def test_a_crash_within_another_guests_exit_and_in_another_thread() -> None:
    assert within(run_crash) == 3
    threads = [threading.Thread(target=run_crash) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert within(lambda: within(run_crash)) == 3


def test_a_guest_that_crashes_in_a_coroutine_is_told_from_the_one_around_it() -> None:
    """Stacks of coroutines are exchanged: what crashes is what runs."""
    other = greenlet(lambda: (main.switch(), run_crash()))
    main = getcurrent()
    other.switch()
    assert within(other.switch) == 3


# mov eax, 0x80000000; mov edx, 0x80000000; pcmpestri xmm0, xmm1, 0
COMPARE = bytes.fromhex("b800000080 ba00000080 660f3a61c100")


@pytest.fixture
def unmended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is executed in Unicorn's stead: COMPARE lets it read far outside of its memory."""
    for name in ("find", "find_in_block"):
        monkeypatch.setattr(erratahooks, name, lambda code: set())


@pytest.mark.usefixtures("unmended")
def test_what_crashes_behind_a_guests_end_is_of_no_account() -> None:
    """The rest of its last block is executed, too."""
    image = make_image(hypercall(8, HALT) + COMPARE, {HALT: struct.pack("<Qi", 0, 7)})
    with machine_of(image, config_for(image, cpu="westmere")) as machine:
        outcome = machine.run(ScriptedWorld())
    assert isinstance(outcome, Outcome) and outcome.status == 7 and outcome.exact


@pytest.mark.usefixtures("unmended")
def test_what_crashes_behind_an_exit_in_which_the_guest_stops_is_its_error_there() -> None:
    image = make_image(hypercall(1, DATA) + COMPARE + halt())
    with (
        machine_of(image, config_for(image, cpu="westmere")) as machine,
        pytest.raises(GuestError) as error,
    ):
        machine.run(ScriptedWorld(walltime=[NoAnswer()]))
    assert error.value.registers["rip"] == TEXT + len(hypercall(1, DATA)) - 1
    assert error.value.code.startswith("=> 0x10000a  out dx, eax")
    assert "pcmpestri" in error.value.code


# What crashes, and is no guest: in Python, in an exit, from outside.
OTHERS = {
    "python": "ctypes.string_at(0)",
    "exit": "within(lambda: ctypes.string_at(0))",
    "sent": "within(lambda: os.kill(os.getpid(), signal.SIGSEGV))",
}


@pytest.mark.parametrize("handler", [False, True])
@pytest.mark.parametrize("what", OTHERS)
def test_what_is_no_guests_crash_ends_the_process_as_ever(what: str, handler: bool) -> None:
    """By way of the handler that was there before, if there was one."""
    here = Path(__file__).parent
    script = "import ctypes, os, signal\nfrom test_crashes import run_crash, within\n"
    script += f"run_crash()\nprint('here', flush=True)\n{OTHERS[what]}"
    done = subprocess.run(
        [sys.executable, *(["-X", "faulthandler"] if handler else []), "-c", script],
        env=os.environ | {"PYTHONPATH": f"{here}{os.pathsep}{here.parent}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (-signal.SIGSEGV, "here\n"), done.stderr
    assert ("Fatal Python error" in done.stderr) == handler


def test_a_crash_is_recorded_and_replayed() -> None:
    first = hypercall(1, DATA) + b"\xeb\x00"
    image = make_image(first + crash(TEXT + len(first)))
    entries: list[Entry] = []
    with machine_of(image) as machine, pytest.raises(GuestError) as recorded:
        machine.run(Recorder(ScriptedWorld(), machine, entries.append))
    assert [kind for kind, *_ in entries] == [Kind.WALLTIME, Kind.END]
    for count in (False, True):
        with pytest.raises(GuestError) as again:
            replay(image, config_for(image), entries, count_blocks=count)
        assert again.value.reason == recorded.value.reason
    other = make_image(first + b"\x90" * len(crash()) + halt())
    with pytest.raises(Divergence):
        replay(other, config_for(other), entries)
