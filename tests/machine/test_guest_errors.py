"""How a guest's end by its own mistake is told: reason, registers, code, core file."""

from __future__ import annotations

import io
import re
import struct
import traceback
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from support import (
    DATA,
    LOAD_TABLES,
    TEXT,
    ScriptedWorld,
    config_for,
    machine_of,
    make_image,
    sample,
    trap_tables,
)

from vlockstep.errors import VlockstepError
from vlockstep.machine import image as images
from vlockstep.machine.report import GuestError
from vlockstep.machine.world import WorldChanged

FAULT = sample("fault")


def error_of(kind: str, core: Path | None = None) -> GuestError:
    with machine_of(FAULT, config_for(FAULT, f"--kind={kind}")) as machine:
        machine.core_directory = core
        with pytest.raises(GuestError) as error:
            machine.run(ScriptedWorld())
    return error.value


@pytest.mark.parametrize(
    ("kind", "function", "instruction"),
    [
        ("port", "raise_port", "out 0x80, eax"),
        ("width8", "raise_width8", "out dx, al"),
        ("in", "raise_in", "in eax, dx"),
        ("noidt", "raise_noidt", "ud2"),
        ("stack", "raise_stack", "push 0"),
        ("spin", "raise_spin", "jmp 0x"),
    ],
)
def test_report_names_reason_position_and_registers_and_marks_rip(
    kind: str, function: str, instruction: str
) -> None:
    error = error_of(kind)
    report = error.report()
    assert isinstance(error, VlockstepError) and error.exit_status == 1
    assert report.startswith(f"guest error: {error.reason} at exits:0\n")
    rip = error.registers["rip"]
    assert f"rip {rip:016x}" in report
    (marked,) = [line for line in report.splitlines() if line.startswith("=>")]
    assert marked.startswith(f"=> {rip:#x}  {instruction}")
    assert re.search(rf"^{function}\+0x[0-9a-f]+:$", report, re.M)


def test_rip_where_nothing_is_mapped_is_said_so() -> None:
    error = error_of("unmapped")
    assert "=> 0x8000  (not mapped)" in error.code


def test_bytes_that_are_no_instruction_are_shown() -> None:
    image = make_image(b"\x06\x07\x16")
    with machine_of(image) as machine, pytest.raises(GuestError) as error:
        machine.run(ScriptedWorld())
    assert "=> 0x100000  (bytes 06 07 16 " in error.value.code


def test_the_error_carries_no_python_internals() -> None:
    error = error_of("noidt")
    assert error.__cause__ is None
    text = "".join(traceback.format_exception_only(error))
    assert "Traceback" not in text + error.report() and "object at 0x" not in error.report()


def test_damaged_symbols_do_not_hide_the_error() -> None:
    content = bytearray(FAULT.content)
    struct.pack_into("<Q", content, 40, 1 << 40)
    image = images.parse("fault.hvt", bytes(content))
    config = config_for(image, "--kind=port")
    with machine_of(image, config) as machine, pytest.raises(GuestError, match="port 0x80"):
        machine.run(ScriptedWorld())


def test_errors_of_the_world_come_out_as_they_are() -> None:
    clock = sample("clock")
    for question in ("cycles", "walltime"):
        world = ScriptedWorld(**{question: [ZeroDivisionError("mine")]})
        with machine_of(clock) as machine, pytest.raises(ZeroDivisionError, match="mine"):
            machine.run(world)
        assert world.outcome is None


def test_core_is_an_elf_file_with_registers_and_memory(tmp_path: Path) -> None:
    error = error_of("port", tmp_path / "new")
    assert error.core is not None and str(error.core) in error.report()
    elf = ELFFile(io.BytesIO(error.core.read_bytes()))
    assert elf.header["e_type"] == "ET_CORE" and elf.header["e_machine"] == "EM_X86_64"
    notes, *loads = elf.iter_segments()
    status = notes.data()
    values = struct.unpack_from("<27Q", status, 20 + 112)
    registers = error.registers
    assert (values[16], values[19], values[10]) == (registers.rip, registers.rsp, registers.rax)
    code = next(s for s in FAULT.segments if s.executable)
    holding = next(s for s in loads if s["p_vaddr"] <= code.address < s["p_vaddr"] + s["p_memsz"])
    start = code.address - holding["p_vaddr"]
    assert holding.data()[start : start + len(code.data)] == code.data
    assert all(s["p_vaddr"] >= 0x10000 for s in loads)


def test_core_is_written_once_though_the_world_changes_meanwhile(tmp_path: Path) -> None:
    world = ScriptedWorld(end=[WorldChanged()])
    with machine_of(FAULT, config_for(FAULT, "--kind=port")) as machine:
        machine.core_directory = tmp_path
        with pytest.raises(GuestError, match="OUT to port 0x80"):
            machine.run(world)
    assert world.outcome is not None and len(list(tmp_path.iterdir())) == 1


def test_a_core_that_cannot_be_written_hides_nothing(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    world = ScriptedWorld()
    with machine_of(FAULT, config_for(FAULT, "--kind=port")) as machine:
        machine.core_directory = file
        with pytest.raises(GuestError, match="OUT to port 0x80") as error:
            machine.run(world)
    assert world.outcome == error.value.outcome and error.value.core is None
    assert f"cannot write the core file {file}/core.fault.hvt." in error.value.report()


def test_no_core_without_an_error(tmp_path: Path) -> None:
    hello = sample("hello")
    with machine_of(hello) as machine:
        machine.core_directory = tmp_path
        machine.run(ScriptedWorld())
    assert list(tmp_path.iterdir()) == []


def test_memory_beyond_ram_is_a_fault_and_not_a_crash() -> None:
    """mov rax, [8 GiB]: not mapped by the boot page tables."""
    tables = trap_tables({14: TEXT + 0x400})
    load = bytes.fromhex("48b80000000002000000 488b00")
    image = make_image({0: LOAD_TABLES + load, 0x400: b"\xe7\x80"}, tables)  # out 0x80, eax
    with machine_of(image) as machine, pytest.raises(GuestError, match="port 0x80") as error:
        machine.run(ScriptedWorld())
    assert error.value.registers["cr2"] == 1 << 33


def test_page_tables_that_lead_beyond_ram_end_the_guest() -> None:
    # mov rax, DATA + 0x1000; mov cr3, rax; jmp next: the next fetch finds no tables
    code = b"\xb8" + struct.pack("<I", DATA + 0x1000) + bytes.fromhex("0f22d8 eb00")
    with machine_of(make_image(code)) as machine, pytest.raises(GuestError, match="page fault"):
        machine.run(ScriptedWorld())
    code = bytes.fromhex("48b80000000040000000 0f22d8 eb00")  # cr3 = 256 GiB
    with machine_of(make_image(code)) as machine, pytest.raises(GuestError):
        machine.run(ScriptedWorld())
