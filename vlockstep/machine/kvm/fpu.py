"""The x87 and SSE, as XSAVE lays them out (Intel SDM, volume 1, 10.5.1 and 13.4)."""

from __future__ import annotations

import struct
from collections.abc import Mapping

SIZE = 4096
_HEAD = struct.Struct("<HHBxHQQI")
"""FCW, FSW, which registers are not empty, FOP, FIP, FDP, MXCSR."""
_X87, _SSE = 1, 2
_STATES, _ST, _XMM = 512, 32, 160
_FCW_INIT, _EMPTY = 0x37F, 3


def unpack(area: bytes) -> dict[str, int]:
    """Registers by name; `fp0` to `fp7` are those of the x87's file, not of its stack."""
    fcw, fsw, full, fop, fip, fdp, mxcsr = _HEAD.unpack_from(area)
    (states,) = struct.unpack_from("<Q", area, _STATES)
    stack = [int.from_bytes(area[at : at + 10], "little") for at in range(_ST, _ST + 128, 16)]
    if not states & _X87:
        fcw, fsw, full, fop, fip, fdp, stack = _FCW_INIT, 0, 0, 0, 0, 0, [0] * 8
    vectors = [int.from_bytes(area[at : at + 16], "little") for at in range(_XMM, _XMM + 256, 16)]
    if not states & _SSE:
        vectors = [0] * 16
    top = fsw >> 11 & 7
    physical = [stack[(i - top) % 8] for i in range(8)]
    tags = sum(_tag(full >> i & 1, physical[i]) << 2 * i for i in range(8))
    found = {
        "fpcw": fcw, "fpsw": fsw, "fptag": tags, "fop": fop, "fip": fip, "fdp": fdp,
        "mxcsr": mxcsr,
    }  # fmt: skip
    found.update((f"fp{i}", value) for i, value in enumerate(physical))
    found.update((f"xmm{i}", value) for i, value in enumerate(vectors))
    return found


def pack(area: bytearray, registers: Mapping[str, int]) -> None:
    """Put them into an area that was read."""
    tags, top = registers["fptag"], registers["fpsw"] >> 11 & 7
    full = sum((tags >> 2 * i & 3 != _EMPTY) << i for i in range(8))
    names = ("fpcw", "fpsw", "fop", "fip", "fdp", "mxcsr")
    fcw, fsw, fop, fip, fdp, mxcsr = (registers[name] for name in names)
    _HEAD.pack_into(area, 0, fcw, fsw, full, fop, fip, fdp, mxcsr)
    for i in range(8):
        at = _ST + 16 * ((i - top) % 8)
        area[at : at + 10] = registers[f"fp{i}"].to_bytes(10, "little")
    for i in range(16):
        area[_XMM + 16 * i : _XMM + 16 * (i + 1)] = registers[f"xmm{i}"].to_bytes(16, "little")
    (states,) = struct.unpack_from("<Q", area, _STATES)
    struct.pack_into("<Q", area, _STATES, states | _X87 | _SSE)


def _tag(full: int, value: int) -> int:
    """Of a register: valid, zero, special or empty."""
    if not full:
        return _EMPTY
    mantissa, exponent = value & (1 << 64) - 1, value >> 64 & 0x7FFF
    if exponent == 0 and mantissa == 0:
        return 1
    return 2 if exponent in (0, 0x7FFF) or not mantissa >> 63 else 0
