"""RDRAND and RDSEED are inputs: asked for, logged, replayed, and exact wherever one is stopped."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from contextlib import closing

import pytest
from support import (
    DATA,
    HALT,
    LOAD_TABLES,
    TEXT,
    Position,
    ScriptedWorld,
    config_for,
    halt,
    hypercall,
    machine_of,
    make_image,
    record,
    replay,
    some,
    trap_tables,
)

from vlockstep.machine.config import GuestConfig
from vlockstep.machine.image import Image
from vlockstep.machine.machine import Machine
from vlockstep.machine.randomness import decode
from vlockstep.machine.world import NoAnswer, Outcome, Stop, WorldChanged
from vlockstep.replay.entry import Kind
from vlockstep.replay.replayer import Divergence

MODEL = "broadwell"
VALUE = 0xFEDCBA98_76543210
ONES = (1 << 64) - 1
CARRY, ARITHMETIC = 1, 0x8D5


def guest(code: bytes) -> Image:
    """#UD halts with status 6."""
    tables = trap_tables({6: TEXT + 0x400})
    data = {**tables, HALT: struct.pack("<Qi", 0, 0), HALT + 16: struct.pack("<Qi", 0, 6)}
    return make_image({0: LOAD_TABLES + code + halt(), 0x400: halt(HALT + 16)}, data)


def configured(image: Image) -> GuestConfig:
    return config_for(image, cpu=MODEL)


READS = {
    "0fc7f0": ("rax", VALUE & 0xFFFFFFFF),
    "480fc7f3": ("rbx", VALUE),
    "660fc7f1": ("rcx", ONES & ~0xFFFF | VALUE & 0xFFFF),
    "66490fc7f7": ("r15", VALUE),
    "410fc7f0": ("r8", VALUE & 0xFFFFFFFF),
    "660fc7fe": ("rsi", ONES & ~0xFFFF | VALUE & 0xFFFF),
    "2e673e480fc7ff": ("rdi", VALUE),
}


@pytest.mark.parametrize("code", READS)
def test_each_form_gives_what_the_world_says(code: str) -> None:
    register, value = READS[code]
    # or REG, -1 for each; then flags that RDRAND clears; push the flags behind it
    fill = b"".join(b"\x48\x83" + bytes([0xC8 | n]) + b"\xff" for n in (0, 1, 3, 6, 7))
    fill += b"\x49\x83\xc8\xff\x49\x83\xcf\xff"
    keep = bytes.fromhex("9c 8f0425") + struct.pack("<I", DATA)  # pushfq; pop [DATA]
    keep += bytes.fromhex("48890425") + struct.pack("<I", DATA + 8)  # mov [DATA + 8], rax
    image = guest(fill + bytes.fromhex(code) + keep)
    with machine_of(image, configured(image)) as machine:
        outcome = machine.run(ScriptedWorld(random=[VALUE]))
        flags, rax = struct.unpack_from("<QQ", machine.memory.ram, DATA)
    assert isinstance(outcome, Outcome) and outcome.status == 0
    assert (rax if register == "rax" else outcome.registers[register]) == value
    assert flags & ARITHMETIC == CARRY and outcome.position.exits == 1


@pytest.mark.parametrize("model", ["sandybridge", "ivybridge"])
def test_cpuid_tells_of_osxsave_when_it_is_on(model: str) -> None:
    """It is the one feature that changes while a guest runs."""
    ask = bytes.fromhex("b801000000 0fa2")  # mov eax, 1; cpuid
    on = bytes.fromhex("0f20e0 0d00000400 0f22e0")  # mov rax, cr4; or eax, 1 << 18; mov cr4, rax
    for code, told in ((ask, 0), (on + ask, 1), (on + ask + ask, 1)):
        image = guest(code)
        with machine_of(image, config_for(image, cpu=model)) as machine:
            outcome = machine.run(ScriptedWorld())
        assert isinstance(outcome, Outcome)
        assert outcome.registers["rcx"] >> 27 & 1 == told
        assert outcome.registers["rcx"] >> 30 & 1 == (model == "ivybridge")


# lock; rep; a memory operand; cmpxchg8b; cut off; too long
@pytest.mark.parametrize(
    "code", ["f00fc7f0", "f30fc7f0", "f20fc7f8", "0fc730", "0fc7c8", "0fc7", "2e" * 13 + "0fc7f0"]
)
def test_others_are_none(code: str) -> None:
    assert decode(bytes.fromhex(code)) is None


# mov ebp, 40; L: rdrand rax; add r8, rax; rdseed ecx; adc r9, rcx; and al, 7; M: dec al; jns M
# mov [DATA], r8; dec ebp; jnz L
LOOP = bytes.fromhex(
    "bd28000000 480fc7f0 4901c0 0fc7f9 4911c9 2407 fec8 79fc 4c89042500002000 ffcd 75e1"
)
TIMER = DATA + 0x100


def looping(timed: bool) -> Image:
    """Each value decides how many blocks follow."""
    handler = b"\x48\xff\x04\x25" + struct.pack("<I", DATA + 0x200) + b"\x48\xcf"
    arm = hypercall(0x40, TIMER) + b"\xeb\x00\xfb" if timed else b""
    code = {0: LOAD_TABLES + arm + LOOP + b"\xfa" + halt(), 0x400: handler}
    return make_image(
        code,
        {
            **trap_tables({0x20: TEXT + 0x400}),
            TIMER: struct.pack("<QII", 1_000_000, 0x20, 0),
            HALT: struct.pack("<Qi", 0, 0),
        },
    )


def world(seed: int, timed: bool, before: Sequence[object] = ()) -> ScriptedWorld:
    """With one of what may come `before` each value, if anything may."""
    chosen = random.Random(seed)
    values: list[object] = [chosen.getrandbits(64) for _ in range(80)]
    behind_rdseed = range(3, 80, 2) if timed else ()
    where = [Position(n, chosen.randrange(3)) for n in behind_rdseed]
    if before:
        values = [v for value in values for v in (chosen.choice(before), value) if v is not None]
    return ScriptedWorld(where, random=values)


@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize("seed", some([1], *range(2, 10)))
def test_what_was_recorded_is_replayed(timed: bool, seed: int) -> None:
    image = looping(timed)
    recording = record(image, configured(image), world(seed, timed))
    kinds = [kind for kind, *_ in recording.entries]
    assert kinds.count(Kind.RANDOM) == 80 and (Kind.INTERRUPT in kinds) == timed
    for count in (False, True):
        again = replay(image, configured(image), recording.entries, count_blocks=count)
        assert again == recording.outcome
    at = kinds.index(Kind.RANDOM, 20)
    kind, exits, blocks, value, _ = recording.entries[at]
    assert isinstance(value, int)
    recording.entries[at] = (kind, exits, blocks, value ^ 1, b"")
    with pytest.raises(Divergence):
        replay(image, configured(image), recording.entries)


@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize("seed", some([1], *range(2, 10)))
def test_a_guest_stopped_and_restored_anywhere_goes_on_alike(timed: bool, seed: int) -> None:
    """At each of its exits: without an answer, behind it, and restored from the state there."""
    image = looping(timed)
    with machine_of(image, configured(image), count_blocks=True) as machine:
        alone = machine.run(world(seed, timed))
    chosen = random.Random(seed)
    halting = world(seed, timed, (NoAnswer(), WorldChanged(), None))
    machine = Machine(image, configured(image), count_blocks=True)
    stops = 0
    while isinstance(end := machine.run(halting), Stop):
        stops += 1
        state = machine.capture()
        machine.close()
        machine = Machine.restore(image, configured(image), state, count_blocks=True)
        if chosen.randrange(2):
            following = Position(end.position.exits + 1, chosen.randrange(2))
            machine.break_at(following, machine.stop, exact=False)
    with closing(machine):
        assert end == alone and stops > 10
