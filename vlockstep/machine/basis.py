"""What a guest's results depend on besides its inputs: the basis, which replicas must share.

Unicorn leaves some x87 instructions to the host's C library and processor, where FSIN may differ in
its last bit between two hosts, or on one host between two settings; once in some thousand arguments
is enough for replicas to part. They are executed in its stead (`errata`), by code that may differ
between two versions. So a few of them are executed at the start, in a machine as a guest's, and
their results compared by digest, before anything is protected.
"""

from __future__ import annotations

import hashlib
import platform
import random
import struct
from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, TypeGuard, cast

if TYPE_CHECKING:
    from vlockstep.machine.image import Image
    from vlockstep.machine.world import Outcome, World

Basis = Mapping[str, str]
"""By name: `architecture` of the host, version of `unicorn`, digest of `results`, and the
`processor` if the guest is to run on that itself: its vendor and family, which must be like, model
and stepping. It is a `candidate` if the guest may run there or be emulated."""
NOWHERE: Basis = {}
"""That of roles without machines."""

_MOST_NAMES, _LONGEST = 16, 100
_UNLIKE = {
    "architecture": "{who} runs on {here}, {other} on {there}: take hosts of one architecture",
    "unicorn": "{who} has Unicorn {here}, {other} {there}: install the same version",
    "results": "x87 instructions give other results at {who} ({here}) than at {other} ({there}): "
    "take hosts with like processors and C libraries",
}
PROCESSOR, _CANDIDATE = "processor", "candidate"
_UNLIKE_PROCESSORS = (
    "{who} runs the guest on a processor {here}, {other} on {there}: take hosts with like "
    "processors, or the engine unicorn on one of them"
)

_INSTRUCTIONS = (
    "d9fe", "d9ff", "d9fb", "d9f2", "d9f3", "d9f0", "d9f1", "d9f9", "d9f8", "d9f5", "d9fa", "d9fd",
)  # fmt: skip
"""FSIN, FCOS, FSINCOS, FPTAN, FPATAN, F2XM1, FYL2X, FYL2XP1, FPREM, FPREM1, FSQRT, FSCALE."""
_TELLING = (
    (0.49546395838749135, 1.1583581304806443), (0.6114388460507876, 0.6789622468332022),
    (0.43459036822319974, -0.4934053380803394), (-4.433489850933526, -0.3129708723536426),
    (0.3636100578511441, 1.0758406266240517), (39.453319690548625, -1.5011358677574975),
    (0.6751100294401893, 1.930843998390118), (19.525763775661915, 1.5459999521138772),
    (16.403716679551238, 1.0596729734324182), (-0.27863097884005983, -0.8791382411190201),
    (-0.4936493382680336, -0.24379278000113302), (0.5638790149118067, -0.743345268221276),
    (-0.06694896239888348, -0.2431572579868444), (13.496794369874095, -1.8431059276108614),
)  # fmt: skip
"""Values of ST(0) and ST(1) with which two settings of one C library were seen to differ."""
_ORDINARY = 16
_CODE, _HALT, _OPERANDS, _RESULTS = 0x100000, 0x101000, 0x102000, 0x103000
_END, _MEMORY = 0x106000, 2 << 20
_RESULT = 20
_HALT_PORT = 0x508


def is_basis(fields: object) -> TypeGuard[dict[str, str]]:
    """Whether that can be one: few short texts."""
    return (
        type(fields) is dict
        and len(fields) <= _MOST_NAMES
        and all(type(t) is str and len(t) <= _LONGEST for pair in fields.items() for t in pair)
    )


def disagreement(here: Basis, there: Basis, who: str, other: str) -> str:
    """Why `who`, with the basis `here`, and `other` would not execute a guest alike; "" if they
    would."""
    for name, unlike in _UNLIKE.items():
        found = [which.get(name, "unknown") for which in (here, there)]
        if found[0] != found[1]:
            return unlike.format(who=who, here=found[0], other=other, there=found[1])
    processors = [which.get(PROCESSOR, "") for which in (here, there)]
    if all(processors) and not alike(*processors):
        return _UNLIKE_PROCESSORS.format(
            who=who, here=processors[0], other=other, there=processors[1]
        )
    return ""


def alike(processor: str, other: str) -> bool:
    """Whether they have like results: vendor and family are the same."""
    return processor.partition(" model ")[0] == other.partition(" model ")[0]


def processor_of(*replicas: Basis) -> str:
    """The one on which the guest of these, which may have it together, runs or may run; "" if there
    is none."""
    found = (basis.get(PROCESSOR) or basis.get(_CANDIDATE) for basis in replicas)
    return next(filter(None, found), "")


def basis(processor: str = "") -> dict[str, str]:
    """That of this process, where guests run on a `processor` itself, if that is told."""
    import unicorn

    found = {
        "architecture": platform.machine(),
        "unicorn": unicorn.__version__,
        "results": _results(),
    }
    return found | {PROCESSOR: processor} if processor else found


def emulated(basis: Basis) -> Basis:
    """The one of a guest that runs on no processor itself."""
    return {name: value for name, value in basis.items() if name != PROCESSOR}


def undecided(basis: Basis) -> Basis:
    """The one of a guest that runs on the processor itself, or not, as others need it."""
    return {_CANDIDATE if name == PROCESSOR else name: value for name, value in basis.items()}


def running_on(basis: Basis, processor: str) -> Basis:
    return {**basis, PROCESSOR: processor} if processor else emulated(basis)


class _NoExits:
    """The World of code that only ends."""

    def end(self, outcome: Outcome) -> None:
        assert not outcome.reason


@cache
def _results() -> str:
    from vlockstep.machine.config import GuestConfig
    from vlockstep.machine.machine import Machine

    image = _image(list(_operands()))
    machine = Machine(image, GuestConfig(image.digest, _MEMORY))
    try:
        machine.run(cast("World", _NoExits()))
        found = machine.memory.peek(_RESULTS, _END - _RESULTS)
        return hashlib.blake2b(found, digest_size=8).hexdigest()
    finally:
        machine.close()


def _operands() -> Iterator[tuple[float, float]]:
    yield from _TELLING
    chosen = random.Random(1)
    for number in range(_ORDINARY):
        limit = 50.0 if number % 2 else 1.0
        yield chosen.uniform(-limit, limit), chosen.uniform(-2, 2)


def _image(operands: list[tuple[float, float]]) -> Image:
    """Executes each instruction with all operands, keeps ST(0) and ST(1) of each, and halts."""
    from vlockstep.machine.image import Image, Segment

    code = b"\xbf" + struct.pack("<I", _RESULTS)  # mov edi
    for instruction in _INSTRUCTIONS:
        # fld qword [rsi + 8]; fld qword [rsi]; ...; fstp tbyte [rdi]; fstp tbyte [rdi + 10]
        # fninit; add rsi, 16; add rdi, 20; dec ecx; jnz
        loop = bytes.fromhex(f"dd4608 dd06 {instruction} db3f db7f0a dbe3 4883c610 4883c714 ffc9")
        loop += b"\x75" + struct.pack("b", -len(loop) - 2)
        code += b"\xbe" + struct.pack("<I", _OPERANDS)  # mov esi
        code += b"\xb9" + struct.pack("<I", len(operands)) + loop  # mov ecx
    # mov edx, port; mov eax, request; out dx, eax; jmp .
    code += b"\xba" + struct.pack("<I", _HALT_PORT) + b"\xb8" + struct.pack("<I", _HALT)
    code += b"\xef\xeb\xfe"
    assert len(operands) * len(_INSTRUCTIONS) * _RESULT <= _END - _RESULTS
    table = b"".join(struct.pack("<dd", *pair) for pair in operands)
    segments = (
        Segment(_CODE, code, _HALT - _CODE, writable=False, executable=True),
        Segment(_HALT, bytes(16), _OPERANDS - _HALT, writable=True, executable=False),
        Segment(_OPERANDS, table, _RESULTS - _OPERANDS, writable=True, executable=False),
        Segment(_RESULTS, b"", _END - _RESULTS, writable=True, executable=False),
    )
    return Image("basis", b"", _CODE, segments, (), "")
