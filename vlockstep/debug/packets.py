"""The framing of gdb's remote protocol: bytes to packets and back."""

from __future__ import annotations

import re
from enum import Enum, auto

LONGEST = 1 << 20
"""Bytes of a packet, of which gdb is told."""
INTERRUPT = b"\x03"
_ESCAPED = re.compile(rb"}(.)", re.S)
_SPECIAL = re.compile(rb"[#$}*]")


class Signal(Enum):
    """What stands between packets."""

    ACK = auto()
    RESEND = auto()
    INTERRUPT = auto()
    DAMAGED = auto()
    """A packet whose checksum is wrong."""


def framed(content: bytes) -> bytes:
    body = _SPECIAL.sub(lambda found: b"}" + bytes([found[0][0] ^ 0x20]), content)
    return b"$%s#%02x" % (body, sum(body) & 0xFF)


class Deframer:
    """Takes bytes as they come; gives the contents of packets, and signals, in order. What is too
    long for a packet is dropped up to its end."""

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._dropping = False

    def feed(self, data: bytes) -> list[bytes | Signal]:
        self._waiting += data
        found: list[bytes | Signal] = []
        while self._waiting:
            if self._dropping or self._waiting[:1] == b"$":
                if not self._packet(found):
                    break
                continue
            signal = _SIGNALS.get(self._waiting[0])
            if signal is not None:
                found.append(signal)
            del self._waiting[0]
        return found

    def _packet(self, found: list[bytes | Signal]) -> bool:
        end = self._waiting.find(b"#")
        if end < 0 or len(self._waiting) < end + 3:
            if len(self._waiting) > LONGEST:
                self._dropping = True
                del self._waiting[:-3]
            return False
        body, checksum = bytes(self._waiting[1:end]), bytes(self._waiting[end + 1 : end + 3])
        del self._waiting[: end + 3]
        good = b"%02x" % (sum(body) & 0xFF) == checksum.lower() and not self._dropping
        self._dropping = False
        if good:
            found.append(_ESCAPED.sub(lambda escaped: bytes([escaped[1][0] ^ 0x20]), body))
        else:
            found.append(Signal.DAMAGED)
        return True


_SIGNALS = {
    ord("+"): Signal.ACK,
    ord("-"): Signal.RESEND,
    INTERRUPT[0]: Signal.INTERRUPT,
}
