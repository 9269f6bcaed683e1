"""Keyframes: the complete state at a position, kept inside a log, from which a replay can begin."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import msgpack

from vlockstep.errors import LogError
from vlockstep.machine.position import MAX_COUNT, Position
from vlockstep.replay.recorder import Cadence

KIND = "keyframe"
_FIX_MAP = 16
"""Fields of a map of msgpack whose number is in its first byte; the heads of arrays and bytes may
be longer than they need to be."""


@dataclass(frozen=True)
class Keyframe:
    """The state before entry `sequence` of a log: `machine` is a packed `MachineState`, and `clock`
    the cycles and the wall-clock time that were read last. So much `console` text there has been.
    A Recorder that goes on from `cadence` makes the entries that follow.

    `registers` is their digest. RAM is what it was at the keyframe before, or zeros, with `memory`
    (groups of `pieces`) written to it; or that of `machine` if there is any. If it is `whole`, what
    RAM was does not matter.
    """

    sequence: int
    position: Position
    machine: bytes
    clock: tuple[int, int]
    console: int
    cadence: Cadence
    registers: bytes = b""
    memory: tuple[bytes, ...] = ()
    whole: bool = False

    @property
    def size(self) -> int:
        """Bytes that it takes, about."""
        return len(self.machine) + sum(map(len, self.memory))

    def pack(self) -> bytes:
        return b"".join(self.pieces())

    def pieces(self) -> list[bytes]:
        """What is packed, without a copy of the RAM, for which all threads would wait."""
        later = ("registers", "memory", "whole")
        told = {n: value for n, value in vars(self).items() if value or n not in later}
        memory = told.pop("memory", ())
        packed: bytes = msgpack.packb({"kind": KIND, **told})
        if not memory:
            return [packed]
        assert len(told) + 2 < _FIX_MAP
        head = bytes([packed[0] + 1]) + packed[1:] + msgpack.packb("memory")
        pieces = [head + b"\xdd" + struct.pack(">I", len(memory))]
        for group in memory:
            pieces += [b"\xc6" + struct.pack(">I", len(group)), group]
        return pieces

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Keyframe:
        """Of what `pack` packed. Raises `LogError` for anything else."""
        try:
            machine = fields["machine"]
            if type(machine) is not bytes:
                raise ValueError("a machine that is none")
            cycles, walltime = counts(2, *fields["clock"])
            (sequence,), (console,) = counts(1, fields["sequence"]), counts(1, fields["console"])
            position = Position(*counts(2, *fields["position"]))
            cadence = Cadence(*counts(3, *fields["cadence"]))
            registers, memory = fields.get("registers", b""), tuple(fields.get("memory", ()))
            if {type(each) for each in (registers, *memory)} != {bytes}:
                raise ValueError("registers or memory that are none")
            whole = fields.get("whole", False)
            if type(whole) is not bool:
                raise ValueError("whole or not, but neither")
            state = machine, (cycles, walltime), console, cadence, registers, memory, whole
            return cls(sequence, position, *state)
        except (ValueError, TypeError, KeyError) as error:
            raise LogError(f"malformed keyframe ({error!r})") from error


def counts(count: int, *values: object) -> list[int]:
    found = [value for value in values if type(value) is int and 0 <= value <= MAX_COUNT]
    if len(found) != count or len(values) != count:
        raise ValueError(f"{values!r:.40} where {count} numbers should be")
    return found
