"""No CPU model has randomness or a clock of its own: they are the World's. Each is the same every
time."""

from __future__ import annotations

import struct

import pytest
from support import (
    DATA,
    LOAD_TABLES,
    TEXT,
    ScriptedWorld,
    config_for,
    halt,
    machine_of,
    make_image,
    trap_tables,
)

from vlockstep.errors import UsageError
from vlockstep.machine.cpumodels import MODELS
from vlockstep.machine.report import GuestError

UNDEFINED, HANDLER = 6, TEXT + 0x400
WITH_RDTSCP = {"sandybridge", "ivybridge", "broadwell", "phenom", "opteron_g3"}
LEAVES = [0, 1, 2, 4, 5, 6, 7, 0xA, 0xB, 0xD, 0x80000000, 0x80000001, 0x80000007, 0x80000008]


def undefined(model: str, instruction: str) -> bool:
    """Whether the instruction raises #UD; no other exception may come."""
    image = make_image(
        {0: LOAD_TABLES + bytes.fromhex(instruction) + halt(DATA), 0x400: halt()},
        {DATA: struct.pack("<Qi", 0, 9), **trap_tables({UNDEFINED: HANDLER})},
    )
    with machine_of(image, config_for(image, cpu=model)) as machine:
        return machine.run(ScriptedWorld()).status == 0


def cpuid(model: str) -> dict[int, tuple[int, ...]]:
    code = b""
    for i, leaf in enumerate(LEAVES):
        code += b"\xb8" + struct.pack("<I", leaf) + b"\x31\xc9\x0f\xa2"  # mov eax; xor ecx; cpuid
        for j, store in enumerate(
            (b"\x89\x04\x25", b"\x89\x1c\x25", b"\x89\x0c\x25", b"\x89\x14\x25")
        ):
            code += store + struct.pack("<I", DATA + 16 * i + 4 * j)  # mov [...], eax ebx ecx edx
    image = make_image(code + halt())
    with machine_of(image, config_for(image, cpu=model)) as machine:
        machine.run(ScriptedWorld())
        rows = struct.iter_unpack("<4I", machine.memory.ram[DATA : DATA + 16 * len(LEAVES)])
        return dict(zip(LEAVES, rows, strict=True))


@pytest.mark.parametrize("model", MODELS)
def test_who_has_no_randomness_says_so(model: str) -> None:
    leaves = cpuid(model)
    told = {"rdrand": leaves[1][2] >> 30 & 1, "rdseed": leaves[7][1] >> 18 & 1}
    for feature, code in (("rdrand", "0fc7f0"), ("rdseed", "0fc7f8")):
        assert bool(told[feature]) == (feature in MODELS[model])
        for prefix in ("", "48", "66"):
            assert undefined(model, prefix + code) != told[feature]
    assert leaves == cpuid(model)
    assert leaves[0x80000001][3] >> 29 & 1, "long mode"


@pytest.mark.parametrize("model", MODELS)
def test_clocks_come_from_the_world(model: str) -> None:
    # mov ecx, 0xc0000103; mov eax, 0x77; xor edx, edx; wrmsr; then read the counter
    aux = bytes.fromhex("b9030100c0 b877000000 31d2 0f30")
    store = bytes.fromhex("890425") + struct.pack("<I", DATA) + bytes.fromhex("891425")
    store += struct.pack("<I", DATA + 4) + bytes.fromhex("890c25") + struct.pack("<I", DATA + 8)
    for instruction, prefix in (("0f31", b""), ("0f01f9", aux)):
        if instruction == "0f01f9" and model not in WITH_RDTSCP:
            assert undefined(model, instruction), "RDTSCP"
            continue
        image = make_image(prefix + bytes.fromhex(instruction) + store + halt())
        with machine_of(image, config_for(image, cpu=model)) as machine:
            outcome = machine.run(ScriptedWorld(cycles=[0xFEDCBA98_76543210]))
            low, high, rest = struct.unpack_from("<III", machine.memory.ram, DATA)
        assert (low, high) == (0x76543210, 0xFEDCBA98)
        assert outcome.position.exits == 1
        if prefix:
            assert rest == 0x77


@pytest.mark.parametrize("model", MODELS)
def test_other_clocks_and_counters_do_not_exist(model: str) -> None:
    assert undefined(model, "31c9 0f33"), "rdpmc"
    assert undefined(model, "f30fc7f8"), "rdpid"
    # mov ecx, 0x10 (IA32_TIME_STAMP_COUNTER); rdmsr; mov [DATA], eax
    code = bytes.fromhex("b910000000 0f32 890425") + struct.pack("<I", DATA)
    seen = set()
    for _ in range(2):
        image = make_image(code + halt())
        with machine_of(image, config_for(image, cpu=model)) as machine:
            machine.run(ScriptedWorld())
            seen.add(machine.memory.digest())
    assert len(seen) == 1


@pytest.mark.parametrize("model", MODELS)
def test_system_calls_are_undefined_on_every_model(model: str) -> None:
    assert undefined(model, "0f05"), "syscall"


def test_models_differ_and_unknown_ones_are_refused() -> None:
    assert len({str(cpuid(model)) for model in MODELS}) == len(MODELS)
    image = make_image(halt())
    refused = pytest.raises(UsageError, match=r"no CPU model 'haswell'; there are qemu64, ")
    with refused, machine_of(image, config_for(image, cpu="haswell")):
        pass


def test_an_undefined_instruction_without_idt_names_it() -> None:
    image = make_image(bytes.fromhex("0fc7f0"))
    with machine_of(image) as machine, pytest.raises(GuestError) as error:
        machine.run(ScriptedWorld())
    assert "invalid opcode (#6)" in error.value.reason and "rdrand eax" in error.value.code
