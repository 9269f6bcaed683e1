"""What kernels do unlike this one: their KVM is played to the engine by what it is called through.

On KVM of hardware RIP is at an OUT until it is complete, and a kick may find the CPU between an
exception and the shim's HLT."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace

import pytest
from continuation import difference, go_on, leave, rest_of
from kvm_guests import (
    ENGINES,
    course_at,
    course_of,
    differences,
    end_of,
    prepared,
    simulated,
)
from support import Console, ScriptedWorld, halt, make_image, needs_kvm, sample
from test_kvm import UNTIMED, guest_of, made

from vlockstep.errors import HostError
from vlockstep.machine import paging
from vlockstep.machine.image import Image
from vlockstep.machine.kvm import abi, engine, fpu
from vlockstep.machine.kvm.engine import KvmEngine
from vlockstep.machine.machine import Machine
from vlockstep.machine.position import Position

pytestmark = needs_kvm

RIP = abi.GENERAL.index("rip")
Enter = Callable[[KvmEngine, Callable[[], None]], None]


def entering(monkeypatch: pytest.MonkeyPatch, enter: Enter) -> None:
    """Let CPUs be entered by `enter`."""
    cpus: dict[int, KvmEngine] = {}
    opened, real = KvmEngine._open, engine.ioctl

    def keeping(self: KvmEngine, *arguments: object) -> None:
        opened(self, *arguments)  # type: ignore[arg-type]
        cpus[self._cpu] = self

    def run(descriptor: int, request: int, argument: int) -> int:
        enter(cpus[descriptor], lambda: real(descriptor, request, argument))  # type: ignore[arg-type,return-value]
        return 0

    monkeypatch.setattr(KvmEngine, "_open", keeping)
    monkeypatch.setattr(engine, "ioctl", run)


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A kernel that moves RIP behind an OUT when it is entered again, unless RIP has been set."""
    waiting: dict[KvmEngine, tuple[int, int]] = {}

    def enter(cpu: KvmEngine, run: Callable[[], None]) -> None:
        at, behind = waiting.pop(cpu, (0, 0))
        if behind and cpu._general[RIP] == at:
            cpu._general[RIP], cpu._dirty[0] = behind, abi.SYNC_REGISTERS
        run()
        if cpu._reason[0] == abi.EXIT_IO and cpu._area[abi.EXIT_DATA]:
            behind = cpu._general[RIP]
            code = paging.read(cpu._memory, cpu["cr3"], behind - 3, 3)
            length = 1 + (code[1] in (0xE6, 0xE7)) + (0x66 in code[:2])
            cpu._general[RIP] = behind - length
            waiting[cpu] = behind - length, behind

    monkeypatch.setattr(engine, "_advances", None)
    entering(monkeypatch, enter)
    yield
    assert engine._advances is False


@pytest.mark.usefixtures("late")
@pytest.mark.parametrize("name", ["abi", "clock"])
def test_guests_run_where_rip_is_late(name: str) -> None:
    image = sample(name)
    config = prepared(image, *UNTIMED[name])
    unicorn, kvm = (course_of(image, config, engine, 40) for engine in ENGINES)
    assert not differences(unicorn, kvm)


@pytest.mark.usefixtures("late")
@pytest.mark.parametrize("name", ["all traps", "busy"])
def test_traps_and_exceptions_where_rip_is_late(name: str) -> None:
    image = made(name)
    config = prepared(image)
    for _ in range(2):
        assert course_of(image, config, "kvm") == course_of(image, config, "unicorn")


@pytest.mark.usefixtures("late")
@pytest.mark.parametrize("entered", ["unicorn", "kvm"])
def test_states_where_rip_is_late(entered: str) -> None:
    guest = guest_of("abi")
    looks = [Position(n) for n in range(0, 39, 6)]
    course, places, _ = leave(
        replace(guest, engine="kvm"), [0, 2, 9], [Position(n) for n in (1, 4, 13)], looks
    )
    for place in places:
        found = go_on(replace(guest, engine=entered), place, looks)
        assert not difference(rest_of(course, place), found, across=True)


@pytest.mark.parametrize("out", ["e743", "66e742", "e640", "66ef", "ee", "ef", "ed", "e540"])
def test_outs_that_are_refused_where_rip_is_late(
    out: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = make_image(b"\x0f\x31\xba\x43\x00\x00\x00\x31\xc0" + bytes.fromhex(out) + halt())
    expected = course_of(image, prepared(image), "unicorn")
    request.getfixturevalue("late")
    assert not differences(expected, course_of(image, prepared(image), "kvm"))


def test_a_kick_that_comes_between_an_exception_and_the_shim(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The machine is asked once the guest has been delivered the exception."""
    image = made("busy")
    expected = course_of(image, prepared(image), "unicorn")
    seen: list[int] = []

    def enter(cpu: KvmEngine, run: Callable[[], None]) -> None:
        run()
        if cpu._reason[0] == abi.EXIT_HLT:
            cpu._general[RIP] -= 1
            raise InterruptedError

    entering(monkeypatch, enter)
    with closing(Machine(image, prepared(image), engine="kvm")) as machine:
        boundary = machine.engine._exits.boundary  # type: ignore[attr-defined]

        def asked() -> bool:
            seen.append(machine.engine["rip"])
            return bool(boundary())

        machine.engine._exits = machine.engine._exits._replace(boundary=asked)  # type: ignore[attr-defined]
        end = end_of(machine, simulated(image, Console()))
        assert course_at(end, machine, "") == expected
    assert len(seen) > 100 and max(seen) < 1 << 32


@pytest.mark.parametrize("reason", [abi.EXIT_INTERNAL_ERROR, abi.EXIT_MMIO, 99])
def test_an_exit_that_means_trouble_is_told_in_one_line(
    reason: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    image: Image = make_image(b"\x0f\x31" + halt())

    def enter(cpu: KvmEngine, run: Callable[[], None]) -> None:
        run()
        cpu._reason[0] = reason

    entering(monkeypatch, enter)
    told = r"^KVM cannot go on .* 0x100002 .*the engine unicorn$"
    machine = Machine(image, prepared(image), engine="kvm")
    with closing(machine), pytest.raises(HostError, match=told):
        machine.run(ScriptedWorld())


def test_the_fpu_in_its_initial_state_may_hold_anything() -> None:
    """XSAVE does not store what XSTATE_BV tells to be initial."""
    area = bytearray(os.urandom(fpu.SIZE))
    struct.pack_into("<Q", area, 512, 0)
    found = fpu.unpack(bytes(area))
    assert found["fpcw"] == 0x37F and found["fptag"] == 0xFFFF and found["fpsw"] == 0
    assert not any(found[f"xmm{n}"] for n in range(16)) and not any(
        found[f"fp{n}"] for n in range(8)
    )
    assert found["mxcsr"] == struct.unpack_from("<I", area, 24)[0]
    fpu.pack(area, found)
    assert fpu.unpack(bytes(area)) == found
