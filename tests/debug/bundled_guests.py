"""A recording of each bundled guest, with the devices that it has and somebody who talks to it."""

from __future__ import annotations

import struct
from contextlib import closing, suppress
from pathlib import Path

from support import MIB, BlockConfig, MemoryDisk, config_for, net_config

from guests import lan
from vlockstep.machine import engines, sitefinder
from vlockstep.machine.basis import basis
from vlockstep.machine.engines import UNICORN
from vlockstep.machine.image import DeviceKind, Image
from vlockstep.machine.machine import Machine
from vlockstep.machine.position import Position
from vlockstep.machine.report import GuestError
from vlockstep.replay.logfile import LogWriter
from vlockstep.replay.recorder import Recorder

DISK = 2 * MIB
_EVERY = 211
"""Blocks between interrupts of a guest that has a timer."""
_NET = (f"--ipv4={lan.GUEST}/24", "--ipv4-gateway=10.0.0.1")
ARGUMENTS: dict[str, tuple[str, ...]] = {
    "abi": (),
    "clock": ("--reads=40", "--walltime=3", "--puts=2"),
    "echo": _NET,
    "fault": ("--kind=pf",),
    "hello": ("--status=3",),
    "kv": _NET,
    "kv-disk": _NET,
    "ledger": ("--lines=3", "--work=10"),
    "preempt": ("--work=40", "--tsc=1"),
    "sort": ("--n=60", "--rounds=1"),
    "stream": _NET,
    "tally": ("--requests=3",),
    "web": _NET,
    "writer": ("--touch=1", "--rounds=1"),
}
_ASKED = {
    "echo": (7, b"to be said again"),
    "kv": (6379, b"SET name value\r\nINCR count\r\nGET name\r\n"),
    "kv-disk": (6379, b"SET name value\r\nINCR count\r\nGET name\r\n"),
    "stream": (7007, b""),
    "web": (80, b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"),
}


class Busy(lan.Lan):
    """With disks; and interrupts, if the guest arms a timer."""

    def __init__(self, image: Image, script: lan.Script) -> None:
        super().__init__(script)
        self._disks = {
            device.handle: MemoryDisk(DISK)
            for device in image.devices
            if device.kind is DeviceKind.BLOCK
        }
        self._armed = False

    def block_read(self, at: int, handle: int, offset: int, length: int) -> bytes | None:
        return self._disks[handle].read(offset, length)

    def block_write(self, at: int, handle: int, offset: int, data: bytes) -> None:
        self._disks[handle].write(offset, data)

    def stop_at(self, position: Position) -> int | None:
        return position.blocks - position.blocks % _EVERY + _EVERY if self._armed else None

    def interrupt(self, position: Position, enabled: bool) -> int | None:
        return self.vector if enabled else None

    def timer(self, at: int, period: int, vector: int, kick: object) -> None:
        self._armed = period > 0


def script(name: str) -> lan.Script:
    """What the guest is told, after which its recording ends."""
    if name == "tally":
        head = b"\xff" * 6 + lan.PEER_MAC + b"\x88\xb5"
        for number in (1, 2, 3):
            yield [head + struct.pack("<Q", number) + bytes(38)]
    elif name in _ASKED:
        port, request = _ASKED[name]
        client = lan.Client(port)
        yield from client.open()
        yield [client.segment(lan.ACK | lan.PSH, request)]
    else:
        while True:
            yield None


def record(path: Path, name: str, image: Image, engine: str = UNICORN) -> Path:
    """Of a guest that is the bundled one of that `name`, but for how it was compiled."""
    names = {kind: [d.name for d in image.devices if d.kind is kind] for kind in DeviceKind}
    config = config_for(
        image,
        *ARGUMENTS[name],
        memory=32 * MIB,
        blocks={each: BlockConfig(DISK) for each in names[DeviceKind.BLOCK]},
        nets=net_config(*names[DeviceKind.NET]),
        sites=() if engine == UNICORN else sitefinder.find(image, "westmere"),
    )
    processor = engines.processor(engine)
    with (
        closing(Machine(image, config, engine=engine)) as machine,
        LogWriter(path, config, image.path, basis=basis(processor)) as log,
        suppress(lan.ScriptEnd, GuestError),
    ):
        machine.run(Recorder(Busy(image, script(name)), machine, log.append))
    return path
