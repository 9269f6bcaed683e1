"""What Unicorn gets wrong is right in a guest, wherever it is executed."""

from __future__ import annotations

import hashlib
import math
import random
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import unicorn
from support import (
    DATA,
    HALT,
    LOAD_TABLES,
    TEXT,
    ScriptedWorld,
    config_for,
    halt,
    machine_of,
    make_image,
    trap_tables,
)
from user_mode import MAP_FOR_USERS, MAPS

from vlockstep.machine.cpumodels import MODELS
from vlockstep.machine.errata import functions
from vlockstep.machine.errata.floatx80 import Rounding, round_off
from vlockstep.machine.errata.x87 import X87
from vlockstep.machine.registers import Registers
from vlockstep.machine.report import GuestError

X, Y, RESULT, HANDLER = DATA, DATA + 8, DATA + 16, 0x400
SSE42 = [model for model, features in MODELS.items() if "sse4.2" in features]


def at(address: int) -> bytes:
    return b"\x25" + struct.pack("<I", address)


LOAD_X, LOAD_Y = b"\xdd\x04" + at(X), b"\xdd\x04" + at(Y)
STORE = b"\xdd\x1c" + at(RESULT)
# L: fprem; fnstsw ax; sahf; jp L
FMOD = LOAD_Y + LOAD_X + bytes.fromhex("d9f8 dfe0 9e 7af9") + STORE


def run(code: bytes, data: dict[int, bytes] | None = None, cpu: str = "westmere") -> Registers:
    image = make_image(code + halt(), data)
    with machine_of(image, config_for(image, cpu=cpu)) as machine:
        return machine.run(ScriptedWorld()).registers


def compute(code: bytes, *operands: float) -> float:
    image = make_image(
        code + halt(), {X: struct.pack("<2d", *operands, *[0.0] * (2 - len(operands)))}
    )
    with machine_of(image) as machine:
        machine.run(ScriptedWorld())
        return struct.unpack("<d", machine.memory.peek(RESULT, 8))[0]  # type: ignore[no-any-return]


def raised(code: bytes, vector: int, cpu: str = "westmere") -> int:
    """Where the exception was raised, as an offset in `code`."""
    image = make_image(
        {0: LOAD_TABLES + code + halt(), HANDLER: b"\x8b\x04\x24" + halt()},
        trap_tables({vector: TEXT + HANDLER}),
    )
    with machine_of(image, config_for(image, cpu=cpu)) as machine:
        registers = machine.run(ScriptedWorld()).registers
        frame = machine.memory.peek(registers["rsp"], 16)
    rip = struct.unpack_from("<Q", frame, 8 if vector == 14 else 0)[0]
    return int(rip) - TEXT - len(LOAD_TABLES)


@pytest.mark.parametrize(
    ("x", "y"),
    [(1e17, 3.0), (6755399441055744.0, 1.1), (1e10, 0.3), (1e308, 1e-308), (5.5, 2.0), (-7.5, 2.0)],
)
def test_fmod_is_exact(x: float, y: float) -> None:
    assert compute(FMOD, x, y) == math.fmod(x, y)


@pytest.mark.parametrize("prefixes", ["4066", "4048", "66402e40"])
def test_prefixes_in_any_order(prefixes: str) -> None:
    code = FMOD.replace(b"\xd9\xf8", bytes.fromhex(prefixes + "d9f8"))
    code = code.replace(b"\x7a\xf9", bytes([0x7A, 0xF9 - len(prefixes) // 2]))
    assert compute(code, 1e17, 3.0) == 1.0


def test_a_denormal_remainder_that_is_exact_underflows_if_that_is_unmasked() -> None:
    denormal, infinity = 0x8000 << 64 | 0x58F0622390E57478, 0xFFFF << 64 | 1 << 63
    registers = {"fpsw": 0, "fpcw": 0x34E, "fptag": 0xFFF0, "fp0": denormal, "fp1": infinity}
    X87(registers).execute(0xF8)
    assert registers["fp0"] == 0xE000 << 64 | 0xB1E0C44721CAE8F0
    assert registers["fpsw"] == 0x8092


FUNCTIONS = {
    "fsin": ("d9fe", math.sin),
    "fcos": ("d9ff", math.cos),
    "fptan": ("d9f2 ddd8", math.tan),
    "fsincos": ("d9fb def9", lambda x: 1 / math.tan(x)),  # ST(1) / ST(0) is the tangent
}


@pytest.mark.parametrize("x", [1e-300, 0.5, -3.0, 1e5, 1e15, 9e18])
@pytest.mark.parametrize("name", ["fsin", "fcos", "fptan"])
def test_trigonometric_functions_are_those_of_the_whole_pi(name: str, x: float) -> None:
    code, function = FUNCTIONS[name]
    result = compute(LOAD_X + bytes.fromhex(code) + STORE, x)
    assert result == pytest.approx(function(x), rel=4e-16, abs=0)


def test_an_argument_that_is_too_large_stays_and_sets_c2() -> None:
    large = float(1 << 63)
    assert compute(LOAD_X + bytes.fromhex("d9fe") + STORE, large) == large
    assert run(LOAD_X + bytes.fromhex("d9fe"), {X: struct.pack("<d", large)})["fpsw"] & 0x400


BITS = "106ba482"


def test_functions_have_the_same_bits_everywhere() -> None:
    chosen = random.Random(1)
    digest = hashlib.sha256()
    for _ in range(300):
        x = chosen.getrandbits(64) | 1 << 63, chosen.randint(-80, -1)
        y = chosen.getrandbits(64) | 1 << 63, chosen.randint(-80, -1)
        small = x[0], x[1] % 20 - 84
        results = [
            *functions.sine_cosine(x),
            functions.arctangent(y, x),
            functions.logarithm(x),
            functions.logarithm_of_one_more(small),
            functions.power_of_two_less_one(small),
        ]
        for value, exponent in results:
            bits = round_off(value, exponent, Rounding.NEAREST, exact=False).bits
            digest.update(bits.to_bytes(10, "little"))
    assert digest.hexdigest()[:8] == BITS


VEX = [
    "c5f058c2",
    "c5f057c1",
    "c4e17058c2",
    "c5fc77",
    "66c5f058c2",
    "4fc5f058c2",
    "c5f8afc1",
    "402ec5f058c2",
]


@pytest.mark.parametrize("code", VEX)
@pytest.mark.parametrize("before", ["", "eb00", "90"])
def test_there_is_no_avx(code: str, before: str) -> None:
    begin = bytes.fromhex(before)
    assert raised(begin + bytes.fromhex(code), 6) == len(begin)


# edx:eax or its like is the least number, the divisor -1
OVERFLOWS = {
    "8 bits": "66b80080 b1ff f6f9",
    "16 bits": "66ba0080 31c0 66b9ffff 66f7f9",
    "32 bits": "ba00000080 31c0 b9ffffffff f7f9",
    "r8d": "ba00000080 31c0 41b8ffffffff 41f7f8",
    "64 bits": "48ba0000000000000080 31c0 48c7c1ffffffff 48f7f9",
    "memory": "c70425100020 00ffffffff ba00000080 31c0 f73c2510002000",
}


@pytest.mark.parametrize("width", OVERFLOWS)
@pytest.mark.parametrize("cpu", ["qemu64", "westmere"])
def test_a_quotient_that_is_too_large_is_a_divide_error(width: str, cpu: str) -> None:
    code = bytes.fromhex(OVERFLOWS[width])
    assert code[raised(code, 0, cpu) :] in [
        bytes.fromhex(end)
        for end in ("f6f9", "66f7f9", "f7f9", "41f7f8", "48f7f9", "f73c2510002000")
    ]


def test_divisions_go_on_where_unicorn_lies_behind_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "unicorn").symlink_to(Path(unicorn.__file__).parent)
    script = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(Path(__file__).parents[1])!r}]\n"
        "sys.path.append(sys.path[1] + '/machine'); import test_errata\n"
        "test_errata.test_a_quotient_that_is_too_large_is_a_divide_error('32 bits', 'qemu64')"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_other_arithmetic_faults_end_the_process_as_ever() -> None:
    """A division by zero in machine code that is not Unicorn's."""
    script = (
        "import ctypes, mmap\n"
        "from vlockstep.machine.unicorncpu import open_cpu\n"
        "open_cpu('qemu64')\n"
        "page = mmap.mmap(-1, 4096, prot=7); page.write(bytes.fromhex('31c999f7f9c3'))\n"
        "ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True)
    assert done.returncode == -8


@pytest.mark.parametrize("cpu", SSE42)
@pytest.mark.parametrize("opcode", ["60", "61"])
def test_lengths_of_strings_saturate(cpu: str, opcode: str) -> None:
    code = bytes.fromhex(f"b800000080 ba00000080 660f3a{opcode}c100")
    registers = run(code, cpu=cpu)
    assert registers["rcx"] == 0 if opcode == "61" else registers["xmm0"] == 0xFFFF


def test_strings_are_compared_as_far_as_they_fit() -> None:
    # movdqu xmm1, [X]; movdqu xmm2, [RESULT]; pcmpistri xmm1, xmm2, equal ordered
    code = b"\xf3\x0f\x6f\x0c" + at(X) + b"\xf3\x0f\x6f\x14" + at(RESULT)
    code += bytes.fromhex("660f3a63ca0c")
    data = {X: b"abc".ljust(16, b"\0"), RESULT: b"0123456789abcdab"}
    assert run(code, data)["rcx"] == 10
    assert run(code, data | {RESULT: b"0123456789-bcdab"})["rcx"] == 14
    # the second from memory, where there is none, and without SSE4.2
    memory = b"\x66\x0f\x3a\x63\x0c" + at(0) + b"\x0c"
    assert raised(memory, 14) == 0
    assert raised(memory, 6, "qemu64") == 0


def test_neighbours_are_added_in_one_register() -> None:
    # movdqu xmm1, [X]; phaddd xmm1, xmm1; movq mm2, [X]; phaddd mm2, mm2
    code = b"\xf3\x0f\x6f\x0c" + at(X) + bytes.fromhex("660f3802c9")
    code += b"\x0f\x6f\x14" + at(X) + bytes.fromhex("0f3802d2")
    registers = run(code, {X: struct.pack("<4I", 1, 2, 3, 4)})
    assert registers["xmm1"].to_bytes(16, "little") == struct.pack("<4I", 3, 7, 3, 7)
    assert registers["fp2"] & (1 << 64) - 1 == 3 | 3 << 32
    assert registers["fptag"] & 0x30 != 0x30


def test_rex_is_ignored_before_another_prefix() -> None:
    # movdqu xmm1, [X]; phaddd xmm1, xmm1
    code = b"\xf3\x0f\x6f\x0c" + at(X) + bytes.fromhex("44660f3802c9")
    registers = run(code, {X: struct.pack("<4I", 1, 2, 3, 4)})
    assert registers["xmm1"].to_bytes(16, "little") == struct.pack("<4I", 3, 7, 3, 7)


EXCHANGES = ["0fc70c2500002000", "f0480fc70c2500002000", "48f00fc70c2500002000"]


@pytest.mark.parametrize("code", EXCHANGES)
def test_an_exchange_changes_no_flag_but_zf(code: str) -> None:
    # mov eax, 1 << 31; add eax, eax: CF, OF and ZF; then not equal
    flags = run(bytes.fromhex("b800000080 01c0 83c800" + code), {X: b"\1"})["rflags"]
    assert flags & 0x8D5 == 0x4
    flags = run(bytes.fromhex("31d2 b800000080 01c0" + code))["rflags"]
    assert flags & 0x8D5 == 0x845


@pytest.mark.parametrize(("once", "again"), [("e1", "e1fb"), ("66e1", "6648e1f9")])
def test_a_loop_changes_no_flag(once: str, again: str) -> None:
    # mov ecx, 1; cmp eax, eax; loope
    registers = run(bytes.fromhex(f"b901000000 39c0 {once} f8"))
    assert (registers["rcx"], registers["rflags"] & 0x8D5) == (0, 0x44)
    registers = run(bytes.fromhex(f"b905000000 31c0 83e800 {again}"))
    assert (registers["rcx"], registers["rflags"] & 0x8D5) == (0, 0x44)


@pytest.mark.parametrize("jump", ["66e100", "66e200", "667400"])  # loope, loop, jz
def test_near_jumps_with_an_operand_size_prefix_have_16_bits(jump: str) -> None:
    code = bytes.fromhex("b905000000 39c0" + jump)
    assert raised(code, 14) + TEXT + len(LOAD_TABLES) == TEXT + len(LOAD_TABLES + code) & 0xFFFF


def test_an_fpu_that_is_switched_off_comes_first() -> None:
    # mov rax, cr0; or eax, TS; mov cr0, rax
    off = bytes.fromhex("0f20c0 83c808 0f22c0")
    assert raised(off + bytes.fromhex("d9fe"), 7) == len(off)


def written(*codes: str) -> Registers:
    """Each of these is written to the same place and executed, after fldz."""
    target = DATA + 0x4000
    body = bytes.fromhex("d9ee")
    jump = b"\xb8" + struct.pack("<I", target) + b"\xff\xe0"  # mov eax, target; jmp rax
    for code in codes:
        content = bytes.fromhex(code + "ffe1").ljust(8, b"\x90")  # jmp rcx
        body += b"\x48\xb8" + content + b"\x48\x89\x04" + at(target)  # mov [target], content
        body += b"\x48\x8d\x0d" + struct.pack("<I", len(jump)) + jump  # lea rcx, [behind]
    image = make_image(MAP_FOR_USERS + body + halt(), {**MAPS, HALT: struct.pack("<Qi", 0, 0)})
    with machine_of(image) as machine:
        return machine.run(ScriptedWorld()).registers


def test_code_that_is_written_at_run_time_is_right() -> None:
    """Twice, at the same place: fsin and then fcos, of 0."""
    assert written("d9fe", "d9ff")["fp7"] == 0x3FFF << 64 | 1 << 63


@pytest.mark.timeout(20)
@pytest.mark.parametrize("code", ["0fc7f0", "c5f058c2", "0f0b"])
def test_what_is_written_over_an_erratum_is_what_it_is(code: str) -> None:
    with pytest.raises(GuestError, match="invalid opcode"):
        written("d9fe", code)
    with pytest.raises(GuestError, match="invalid opcode"):
        written("480fc708", code)


@pytest.mark.parametrize("size", [1, 300, 700])
def test_wherever_in_a_block(size: int) -> None:
    """Blocks are cut where they are long, and at the end of a page."""
    code = (
        b"\xd9\xe8"
        + b"\x90" * size
        + bytes.fromhex("d9fe")
        + b"\x90" * 5000
        + bytes.fromhex("d9fe")
    )
    expected = math.sin(math.sin(1))
    assert compute(code + STORE) == pytest.approx(expected, rel=4e-16)


@pytest.mark.parametrize("jump", ["", "eb00"])
def test_behind_the_exit_that_arms_a_timer(jump: str) -> None:
    """The engine is to stop at the end of the block, to count blocks from there on."""
    arm = bytes.fromhex("ba40050000 b800112000 ef")
    code = LOAD_Y + LOAD_X + arm + bytes.fromhex(jump + "d9f8") + STORE + b"\xeb\x00" + halt()
    timer = {DATA + 0x1100: struct.pack("<QII", 1_000_000, 0x20, 0)}
    image = make_image(code, {X: struct.pack("<2d", 1e17, 3.0), **timer})
    with machine_of(image) as machine:
        assert machine.run(ScriptedWorld()).status == 0
        assert struct.unpack("<d", machine.memory.peek(RESULT, 8)) == (1.0,)


def positions(code: bytes, count_blocks: bool) -> Sequence[object]:
    image = make_image(code + halt())
    with machine_of(image, count_blocks=count_blocks) as machine:
        outcome = machine.run(ScriptedWorld())
    return outcome.position.exits, outcome.registers, outcome.memory_digest


def test_counting_blocks_changes_nothing() -> None:
    code = bytes.fromhex("0f31 d9eb d9fe 0f31 d9ff 01c0") + b"\x0f\xc7\x0c" + at(X)
    assert positions(code, True) == positions(code, False)


def test_an_erratum_is_told_where_the_guest_fails_behind_it() -> None:
    with pytest.raises(GuestError, match="invalid opcode") as error:
        run(bytes.fromhex("d9eb d9fe 0f0b"))
    assert error.value.registers["rip"] == TEXT + 4


def test_in_a_handler_that_was_never_executed() -> None:
    """With it the engine starts anew."""
    handler = bytes.fromhex("90 d9f8 48cf")  # fprem; iretq
    image = make_image(
        {0: LOAD_TABLES + LOAD_Y + LOAD_X + b"\xcc" + STORE + halt(), HANDLER: handler},
        {X: struct.pack("<2d", 1e17, 3.0), **trap_tables({3: TEXT + HANDLER})},
    )
    with machine_of(image) as machine:
        machine.run(ScriptedWorld())
        assert struct.unpack("<d", machine.memory.peek(RESULT, 8)) == (1.0,)


def test_vex_in_a_handler_that_was_never_executed() -> None:
    image = make_image(
        {0: LOAD_TABLES + b"\xcc" + halt(), HANDLER: bytes.fromhex("c5f058c2"), 0x800: halt()},
        {HALT: struct.pack("<Qi", 0, 5), **trap_tables({3: TEXT + HANDLER, 6: TEXT + 0x800})},
    )
    with machine_of(image) as machine:
        outcome = machine.run(ScriptedWorld())
    assert outcome.registers["rsp"] < 0x800000 - 64


def test_stops_at_the_end_of_a_block_are_where_they_were() -> None:
    """The timer is armed, armed again and turned off over and over, in blocks that follow each
    other directly by then."""
    rounds = 60
    # fldpi; fsin; mov esi, rounds
    code = bytes.fromhex("d9eb d9fe be") + struct.pack("<I", rounds)
    # L: mov eax, esi; xor edx, edx; mov ecx, 3; div ecx; mov eax, [X + rdx * 4]; mov edx, 0x540
    loop = bytes.fromhex("89f0 31d2 b903000000 f7f1 8b0495") + struct.pack("<I", X)
    loop += bytes.fromhex(
        "ba40050000 ef eb00 ffc3 eb00 ffc5 ffce"
    )  # out; inc ebx; inc ebp; dec esi
    code += loop + b"\x0f\x85" + struct.pack("<i", -len(loop) - 6)  # jnz L
    on, off = DATA + 0x1100, DATA + 0x1120
    data = {
        X: struct.pack("<3I", on, on, off),
        on: struct.pack("<QII", 1_000_000, 0x20, 0),
        off: struct.pack("<QII", 0, 0x20, 0),
    }
    registers = run(code, data)
    assert (registers["rbx"], registers["rbp"], registers["rsi"]) == (rounds, rounds, 0)
