"""What a guest's state is made of besides its RAM, on its way to a replica that joins."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgpack

from vlockstep.ft.outputs import Output
from vlockstep.machine.position import MAX_COUNT
from vlockstep.replay.entry import Kind
from vlockstep.wire.codec import MessageError


@dataclass(frozen=True)
class GuestState:
    """The state before entry `next`: its machine as
    `GuestMachine.save` packs it, where its clocks stand (cycles, and ns since the epoch), how much
    text it has printed, and its outputs that were not made yet."""

    next: int
    machine: bytes
    clock: tuple[int, int]
    console: int
    outputs: tuple[Output, ...]

    def pack(self) -> bytes:
        outputs = [(o.sequence, int(o.kind), o.handle, o.offset, o.data) for o in self.outputs]
        packed: bytes = msgpack.packb((self.machine, self.clock, self.console, outputs))
        return packed

    @classmethod
    def unpack(cls, next: int, data: bytes) -> GuestState:
        """Raises `MessageError` for anything that `pack` cannot have made."""
        try:
            machine, clock, console, outputs = msgpack.unpackb(data, use_list=False)
            if type(machine) is not bytes:
                raise ValueError("a machine that is none")
            cycles, walltime, _ = _counts(*clock, console)
            return cls(next, machine, (cycles, walltime), console, tuple(_outputs(next, outputs)))
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise MessageError(f"a malformed state of a guest ({error})") from error


def _outputs(next: int, outputs: Iterable[Any]) -> Iterable[Output]:
    least = 0
    for sequence, kind, handle, offset, data in outputs:
        _counts(sequence, handle, offset)
        if not least <= sequence < next or type(data) is not bytes:
            raise ValueError("an output that is none")
        least = sequence + 1
        yield Output(sequence, Kind(kind), handle, offset, data)


def _counts(*values: object) -> tuple[int, ...]:
    if not all(type(value) is int and 0 <= value <= MAX_COUNT for value in values):
        raise ValueError(f"{values!r:.40} where numbers should be")
    return values  # type: ignore[return-value]
