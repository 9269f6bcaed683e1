"""The Solo5 hvt hypercalls, version 2, and our own from 0x40 on: a method each, found by port."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from vlockstep.machine.config import GuestConfig
from vlockstep.machine.image import DeviceKind, Image
from vlockstep.machine.memory import BadPointer

if TYPE_CHECKING:
    from vlockstep.machine.execution import Execution

PORT_BASE = 0x500
OK, AGAIN, EINVAL, EUNSPEC = range(4)
COOKIE_SIZE = 512
NAMES = {
    1: "walltime", 2: "puts", 3: "poll", 4: "block write", 5: "block read", 6: "net write",
    7: "net read", 8: "halt", 0x40: "timer", 0x41: "generation",
}  # fmt: skip

_MAX_TRANSFER = 16 << 20
_FIRST_FREE_VECTOR = 32
_MIN_PERIOD = 10_000
_ETHERNET_HEADER = 14


class Hypercalls:
    """Serves the requests of one guest.

    Each method takes the number of exits before this one and the address of the request, a struct
    in guest memory. Raises `BadPointer` for what leaves guest memory: a fatal guest error.
    """

    def __init__(self, machine: Execution, image: Image, config: GuestConfig) -> None:
        self._machine = machine
        self._memory = memory = machine.memory
        self._put_u64, self._put_i32 = memory.packer("<Q"), memory.packer("<i")
        self._put_u64_i32 = memory.packer("<Qi")
        self._blocks = {
            d.handle: config.blocks[d.name] for d in image.devices if d.kind is DeviceKind.BLOCK
        }
        self._frame_limit = {
            d.handle: config.nets[d.name].mtu + _ETHERNET_HEADER
            for d in image.devices
            if d.kind is DeviceKind.NET
        }
        self.by_port: dict[int, Callable[[int, int], None]] = {
            PORT_BASE + number: getattr(self, "_" + name.replace(" ", "_"))
            for number, name in NAMES.items()
        }

    def _request(self, layout: str, pointer: int, size: int) -> tuple[int, ...]:
        """Unpack the request's fields; its `size` bytes must be writable, for the answer."""
        self._memory.writable(pointer, size)
        return struct.unpack_from(layout, self._memory.ram, pointer)

    def _walltime(self, at: int, pointer: int) -> None:
        self._memory.writable(pointer, 8)
        self._put_u64(pointer, self._machine.world.walltime(at))

    def _puts(self, at: int, pointer: int) -> None:
        data, length = struct.unpack("<QQ", self._memory.read(pointer, 16))
        if length > _MAX_TRANSFER:
            raise BadPointer(f"{length} bytes in one puts; the limit is {_MAX_TRANSFER}")
        self._machine.world.console(at, self._memory.read(data, length))

    def _poll(self, at: int, pointer: int) -> None:
        (timeout,) = self._request("<Q", pointer, 20)
        ready = self._machine.world.poll(at, timeout)
        self._put_u64_i32(pointer + 8, ready, ready.bit_count())

    def _block(self, pointer: int) -> tuple[int, int, int, int] | None:
        """Handle, offset, data and length of a valid block request; None if it is not valid."""
        handle, offset, data, length = self._request("<QQQQ", pointer, 36)
        if data + length > self._memory.size:
            raise BadPointer(f"{length} bytes at {data:#x} are outside guest memory")
        block = self._blocks.get(handle)
        if block is None or not 0 < length <= _MAX_TRANSFER or offset + length > block.capacity:
            return None
        aligned = offset % block.block_size == length % block.block_size == 0
        return (handle, offset, data, length) if aligned else None

    def _block_write(self, at: int, pointer: int) -> None:
        request = self._block(pointer)
        if request is not None:
            handle, offset, data, length = request
            self._machine.world.block_write(at, handle, offset, self._memory.read(data, length))
        self._put_i32(pointer + 32, EINVAL if request is None else OK)

    def _block_read(self, at: int, pointer: int) -> None:
        request = self._block(pointer)
        result = EINVAL
        if request is not None:
            handle, offset, data, length = request
            self._memory.writable(data, length)
            content = self._machine.world.block_read(at, handle, offset, length)
            result = EUNSPEC
            if content is not None:
                assert len(content) == length
                self._machine.engine.write(data, content)
                result = OK
        self._put_i32(pointer + 32, result)

    def _net_write(self, at: int, pointer: int) -> None:
        handle, data, length = self._request("<QQQ", pointer, 28)
        if data + length > self._memory.size:
            raise BadPointer(f"{length} bytes at {data:#x} are outside guest memory")
        result = EINVAL
        if _ETHERNET_HEADER <= length <= self._frame_limit.get(handle, 0):
            self._machine.world.net_write(at, handle, self._memory.read(data, length))
            result = OK
        self._put_i32(pointer + 24, result)

    def _net_read(self, at: int, pointer: int) -> None:
        handle, data, length = self._request("<QQQ", pointer, 28)
        if handle not in self._frame_limit:
            self._put_i32(pointer + 24, EINVAL)
            return
        self._memory.writable(data, length)
        frame = self._machine.world.net_read(at, handle, length)
        if frame is None:
            self._put_i32(pointer + 24, AGAIN)
            return
        assert len(frame) <= length
        self._machine.engine.write(data, frame)
        self._put_u64_i32(pointer + 16, len(frame), OK)

    def _halt(self, at: int, pointer: int) -> None:
        cookie, status = struct.unpack("<Qi", self._memory.read(pointer, 12))
        trap = b""
        if cookie:
            length = min(COOKIE_SIZE, self._memory.size - cookie)
            trap = self._memory.read(cookie, max(length, 1))
        self._machine.halt(status, trap)

    def _generation(self, at: int, pointer: int) -> None:
        self._memory.writable(pointer, 8)
        self._put_u64(pointer, self._machine.world.generation(at))

    def _timer(self, at: int, pointer: int) -> None:
        period, vector = self._request("<QI", pointer, 16)
        valid = period == 0 or (period >= _MIN_PERIOD and _FIRST_FREE_VECTOR <= vector < 256)
        if valid:
            self._machine.arm_timer(period, vector)
        self._put_i32(pointer + 12, OK if valid else EINVAL)
