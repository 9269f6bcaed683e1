"""Keyframes: the complete state at a position, kept inside a log, from which a replay can begin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgpack

from vlockstep.errors import LogError
from vlockstep.machine.position import MAX_COUNT, Position
from vlockstep.replay.recorder import Cadence

KIND = "keyframe"


@dataclass(frozen=True)
class Keyframe:
    """The state before entry `sequence` of a log: `machine` is a packed `MachineState`, and `clock`
    the cycles and the wall-clock time that were read last. So much `console` text there has been.
    A Recorder that goes on from `cadence` makes the entries that follow."""

    sequence: int
    position: Position
    machine: bytes
    clock: tuple[int, int]
    console: int
    cadence: Cadence

    def pack(self) -> bytes:
        packed: bytes = msgpack.packb({"kind": KIND, **vars(self)})
        return packed

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
            return cls(sequence, position, machine, (cycles, walltime), console, cadence)
        except (ValueError, TypeError, KeyError) as error:
            raise LogError(f"malformed keyframe ({error!r})") from error


def counts(count: int, *values: object) -> list[int]:
    found = [value for value in values if type(value) is int and 0 <= value <= MAX_COUNT]
    if len(found) != count or len(values) != count:
        raise ValueError(f"{values!r:.40} where {count} numbers should be")
    return found
