"""Whoever wants to be let in comes in, whenever it asks, and the guest sees nothing of it; machines
on KVM leave nothing behind, and many may run at a time."""

from __future__ import annotations

import gc
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from kvm_guests import Course, course_at, course_of, end_of, loop, prepared, simulated
from support import (
    LOAD_TABLES,
    MIB,
    TEXT,
    Console,
    ScriptedWorld,
    halt,
    hypercall,
    make_image,
    needs_kvm,
    sample,
    ticking,
    trap_tables,
)
from test_kvm import IRET, counting, made, skipping

from vlockstep.errors import HostError
from vlockstep.machine.image import Image
from vlockstep.machine.kvm import engine as engines
from vlockstep.machine.machine import Machine
from vlockstep.machine.position import BOOT
from vlockstep.machine.state import MachineState, Where
from vlockstep.machine.world import Cause, Outcome, Stop

pytestmark = needs_kvm

SPINNING = b"\x48\xff\xc0\xeb\xfb"  # inc rax, for ever
SELF_LOOPS = {"jump": b"\xeb\xfe", "pause": b"\xf3\x90\xeb\xfc"}
SHIM = 1 << 47


def machine_on_kvm(image: Image, memory: int = 8 * MIB) -> closing[Machine]:
    return closing(Machine(image, prepared(image, memory=memory), engine="kvm"))


def in_thread(function: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=function)
    thread.start()
    return thread


def test_a_guest_without_exits_is_visited_and_stopped() -> None:
    with machine_on_kvm(make_image(SPINNING)) as machine:
        seen: list[MachineState] = []

        def look() -> None:
            seen.append(machine.capture())
            if len(seen) == 3:
                machine.stop()
            else:
                in_thread(lambda: machine.visit(look))

        visitor = in_thread(lambda: machine.visit(look))
        assert machine.run(ScriptedWorld()) == Stop(BOOT, Cause.REQUEST)
        visitor.join()
        assert {(state.where, state.position) for state in seen} == {(Where.BOUNDARY, BOOT)}
        before = machine.engine["rax"]
        in_thread(lambda: machine.visit(machine.stop)).join()
        assert machine.run(machine.world) == Stop(BOOT, Cause.REQUEST)
        assert machine.engine["rax"] >= before


def test_who_asks_between_the_last_look_and_the_guest_comes_in() -> None:
    with machine_on_kvm(make_image(SPINNING)) as machine:
        run = machine.engine.run

        def late() -> int:
            machine.visit(machine.stop)
            return run()

        machine.engine.run = late  # type: ignore[method-assign]
        assert machine.run(ScriptedWorld()) == Stop(BOOT, Cause.REQUEST)


def test_who_asks_while_the_guest_is_delivered_an_exception_comes_in() -> None:
    """The engine stops for that, and runs on."""
    image = made("busy")
    with machine_on_kvm(image, 32 * MIB) as machine:
        report, seen = machine.engine._exits.exception, []  # type: ignore[attr-defined]

        def raised(vector: int) -> None:
            if not seen:
                machine.visit(lambda: seen.append(machine.position))
            report(vector)

        machine.engine._exits = machine.engine._exits._replace(exception=raised)  # type: ignore[attr-defined]
        outcome = machine.run(simulated(image, Console()))
        assert outcome == course_of(image, prepared(image), "unicorn").end and len(seen) == 1


def test_a_storm_of_kicks_changes_nothing() -> None:
    image = made("busy")
    config = prepared(image)
    expected = course_of(image, config, "unicorn")
    for _ in range(5):
        with closing(Machine(image, config, engine="kvm")) as machine:
            with ticking(machine.kick, 0):
                end = end_of(machine, simulated(image, Console()))
            assert course_at(end, machine, "") == expected


def test_a_storm_of_visits_finds_the_guest_and_never_what_is_below_it() -> None:
    """And each state that is taken is one from which the guest goes on to the same end."""
    image = made("busy")
    config = prepared(image)
    expected = course_of(image, config, "unicorn")
    states: list[MachineState] = []
    with closing(Machine(image, config, engine="kvm")) as machine:

        def take() -> None:
            states.append(machine.capture())

        with ticking(lambda: machine.visit(take), 0):
            end = end_of(machine, Counted())
    assert states and all(state.cpu.registers["rip"] < SHIM for state in states)  # type: ignore[union-attr]
    assert isinstance(end, Outcome) and end.position == expected.end.position
    for state in states[:: max(1, len(states) // 8)]:
        for engine in ("kvm", "unicorn"):
            with closing(Machine.restore(image, config, state, engine=engine)) as machine:
                assert end_of(machine, Counted()) == end


@pytest.mark.parametrize("trap", [b"\xcc", b"\xcd\x03"], ids=["int3", "int 3"])
def test_a_trap_that_is_to_be_delivered_yet_is_in_the_state(trap: bytes) -> None:
    """A KVM in software keeps it from whoever looks, though RIP is behind it."""
    code = LOAD_TABLES + loop(trap, 1000) + halt()
    image = make_image({0: code, 0x400: counting(0) + IRET}, trap_tables({3: TEXT + 0x400}))
    config, states = prepared(image), list[MachineState]()
    behind = TEXT + code.index(trap, len(LOAD_TABLES)) + len(trap)
    with closing(Machine(image, config, engine="kvm")) as machine:

        def take() -> None:
            if machine.engine["rip"] == behind:
                states.append(machine.capture())

        with ticking(lambda: machine.visit(take), 0.0001):
            end = end_of(machine, Counted())
    for state in states[:: max(1, len(states) // 16)]:
        with closing(Machine.restore(image, config, state, engine="kvm")) as machine:
            assert end_of(machine, Counted()) == end


def test_who_finds_a_trap_that_is_to_be_delivered_yet_comes_in() -> None:
    """Though the guest makes no exit, and nobody asks again."""
    code = LOAD_TABLES + b"\xcc\xeb\xfd"  # int3; jmp to it
    image = make_image({0: code, 0x400: counting(0) + IRET}, trap_tables({3: TEXT + 0x400}))
    with closing(Machine(image, prepared(image), engine="kvm")) as machine:

        def visit() -> None:
            for _ in range(200):
                come = threading.Event()
                machine.visit(come.set)
                assert come.wait(20)
            machine.visit(machine.stop)

        with ThreadPoolExecutor(1) as pool:
            visits = pool.submit(visit)
            visits.add_done_callback(lambda done: machine.visit(machine.stop))
            assert machine.run(ScriptedWorld()) == Stop(BOOT, Cause.REQUEST)
            visits.result()


def test_a_loop_behind_a_trap_is_none_while_that_is_to_be_delivered_yet() -> None:
    """The handler leads past it."""
    body = b"\xcc\xeb\xfe"  # int3; jmp to itself
    code = LOAD_TABLES + loop(body, 2000) + halt()
    image = make_image({0: code, 0x400: skipping(2) + IRET}, trap_tables({3: TEXT + 0x400}))
    with (
        closing(Machine(image, prepared(image), engine="kvm")) as machine,
        ticking(machine.engine.kick, 0.0001),
    ):
        end = end_of(machine, ScriptedWorld())
    assert isinstance(end, Outcome) and (end.status, end.reason) == (0, "")


class Counted(ScriptedWorld):
    """Whose clock depends on the exit alone."""

    def cycles(self, at: int) -> int:
        return 1000 * at


@pytest.mark.parametrize("name", SELF_LOOPS)
def test_endless_loops_are_found(name: str) -> None:
    image = make_image(b"\x0f\x31" + SELF_LOOPS[name])
    unicorn, kvm = (course_of(image, prepared(image), engine) for engine in ("unicorn", "kvm"))
    assert isinstance(kvm.end, Outcome) and "endless loop" in kvm.end.reason
    assert unicorn == kvm


def test_signals_of_others_do_not_end_a_run() -> None:
    """KVM_RUN ends with any signal that is not blocked."""
    image = made("busy")
    heard: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: heard.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        course = course_of(image, prepared(image), "kvm")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert heard and course == course_of(image, prepared(image), "unicorn")
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()


def test_an_error_of_kvm_is_one_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    with machine_on_kvm(make_image(SPINNING)) as machine:
        call = engines.ioctl

        def failing(descriptor: int, request: int, *argument: object) -> int:
            if request == engines.abi.RUN:
                raise OSError(14, os.strerror(14))
            return call(descriptor, request, *argument)  # type: ignore[call-overload,no-any-return]

        monkeypatch.setattr(engines, "ioctl", failing)
        with pytest.raises(HostError, match=r"^KVM cannot go on with the guest \(Bad address\)$"):
            machine.run(ScriptedWorld())


# What is left behind


def held() -> tuple[int, int, int]:
    """Descriptors, mappings of KVM's, threads."""
    gc.collect()
    maps = Path("/proc/self/maps").read_text()
    return len(list(Path("/proc/self/fd").iterdir())), maps.count("kvm"), threading.active_count()


def test_machines_leave_nothing_behind() -> None:
    image = make_image(b"\x0f\x31" + halt())
    config = prepared(image, memory=4 * MIB)
    loops = make_image(b"\xeb\x00" + halt() + b"\xeb\xfe")
    course_of(image, config, "kvm")
    gc.disable()
    try:
        before = held()
        for n in range(200):
            with closing(Machine(image, config, engine="kvm")) as machine:
                if n % 2:
                    machine.run(ScriptedWorld())
        for _ in range(10):
            course_of(loops, prepared(loops), "kvm")
        descriptors, maps, _ = held()
        assert (descriptors, maps) == before[:2]
    finally:
        gc.enable()


def test_a_machine_that_cannot_be_made_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image = make_image(halt())
    config = prepared(image, memory=4 * MIB)
    course_of(image, config, "kvm")
    before, call = held(), engines.call
    for failing in (
        "CREATE_VM",
        "SET_USER_MEMORY_REGION",
        "CREATE_VCPU",
        "SET_CPUID2",
        "SET_SREGS",
    ):
        number = getattr(engines.abi, failing)

        def refusing(descriptor: int, request: int, *argument: object, number: int = number) -> int:
            if request == number:
                raise OSError(12, os.strerror(12))
            return call(descriptor, request, *argument)  # type: ignore[call-overload,no-any-return]

        with monkeypatch.context() as patched:
            patched.setattr(engines, "call", refusing)
            with pytest.raises(HostError, match=r"KVM cannot make a machine \(Cannot allocate"):
                Machine(image, config, engine="kvm")
    assert held() == before


def test_a_guest_that_has_failed_can_be_closed_while_its_error_is_kept() -> None:
    image = make_image(
        hypercall(0x40, 0x200100) + SPINNING, {0x200100: struct.pack("<QI", 10**6, 32)}
    )
    with machine_on_kvm(image) as machine, pytest.raises(HostError) as error:
        machine.run(ScriptedWorld())
    assert error.value.__traceback__ is not None


def test_machines_run_in_threads() -> None:
    image = sample("clock")
    config = prepared(image, "--reads=100")

    def run(seed: int) -> Course:
        return course_of(image, config, "kvm", 150, seed)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(run, [1, 2, 3, 4] * 3))
    assert found == [run(seed) for seed in (1, 2, 3, 4)] * 3


FORKING = """
import os
from contextlib import closing
from kvm_guests import course_of, prepared
from support import halt, make_image
image = make_image(b"\\x0f\\x31" + halt())
expected = course_of(image, prepared(image), "kvm")
child = os.fork()
found = course_of(image, prepared(image), "kvm")
if not child:
    os._exit(found != expected)
assert os.waitpid(child, 0)[1] == 0 and found == expected
"""


def test_a_process_that_was_forked_has_machines_of_its_own() -> None:
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": f"{here}:{here.parent}"}
    subprocess.run([sys.executable, "-c", FORKING], env=environment, check=True)
