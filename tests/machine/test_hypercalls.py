"""Every hypercall, rightly and wrongly: guests of a few instructions, a world with a script."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress

import pytest
from support import (
    DATA,
    HALT,
    TEXT,
    Console,
    MemoryDisk,
    ScriptedWorld,
    config_for,
    disk_config,
    halt,
    hypercall,
    machine_of,
    make_image,
    net_config,
    record,
    replay,
    sample,
)

from vlockstep.host.live import LiveWorld
from vlockstep.host.simulated import SimulatedWorld
from vlockstep.machine.config import MIB, BlockConfig, GuestConfig
from vlockstep.machine.image import DeviceKind
from vlockstep.machine.report import GuestError
from vlockstep.machine.world import World
from vlockstep.replay.entry import Kind

OK, AGAIN, EINVAL, EUNSPEC = range(4)
UNTOUCHED = 0x77777777
REQUEST, BUFFER = DATA + 0x40, DATA + 0x1000
DEVICES = [(b"disk", DeviceKind.BLOCK), (b"net0", DeviceKind.NET), (b"net1", DeviceKind.NET)]
DISK, NET0, NET1 = 1, 2, 3
CAPACITY = 8192


def ask(
    number: int, request: bytes, world: World, buffer: bytes = b"", block_size: int = 512
) -> tuple[bytes, bytes]:
    """Make one hypercall; the request and the buffer afterwards."""
    image = make_image(
        hypercall(number, REQUEST) + halt(), {REQUEST: request, BUFFER: buffer}, DEVICES
    )
    blocks = {"disk": BlockConfig(CAPACITY, block_size=block_size)}
    config = config_for(image, blocks=blocks, nets=net_config("net0", "net1"), memory=4 * MIB)
    with machine_of(image, config) as machine:
        machine.run(world)
        peek = machine.memory.peek
        return peek(REQUEST, len(request)), peek(BUFFER, 2048)


def fails(number: int, request: bytes, reason: str, address: int = REQUEST) -> None:
    code = hypercall(number, address) + b"\xeb\x00" + halt()  # jmp to the next block
    image = make_image(code, {REQUEST: request}, DEVICES)
    config = config_for(
        image, blocks=disk_config(CAPACITY), nets=net_config("net0", "net1"), memory=4 * MIB
    )
    world = ScriptedWorld()
    with machine_of(image, config) as machine, pytest.raises(GuestError, match=reason) as error:
        machine.run(world)
    assert error.value.position.exits == 0
    assert world.outcome is not None and world.outcome.reason == error.value.reason
    assert not world.seen and not world.text


def block(handle: int, offset: int, data: int, length: int) -> bytes:
    return struct.pack("<QQQQI", handle, offset, data, length, UNTOUCHED)


@pytest.mark.parametrize("number", [4, 5])
def test_block_requests_are_of_whole_blocks(number: int) -> None:
    def result(offset: int, length: int) -> int:
        request = block(DISK, offset, BUFFER, length)
        answer, _ = ask(number, request, ScriptedWorld(), block_size=4096)
        return int.from_bytes(answer[32:36], "little")

    for offset, length in ((0, 4096), (4096, 4096), (0, 8192)):
        assert result(offset, length) == OK
    for offset, length in ((0, 512), (512, 4096), (4096, 512), (0, 4608), (8192, 4096)):
        assert result(offset, length) == EINVAL


def net(handle: int, data: int, length: int) -> bytes:
    return struct.pack("<QQQI", handle, data, length, UNTOUCHED)


def test_walltime_is_the_worlds() -> None:
    request, _ = ask(1, bytes(8), ScriptedWorld(walltime=[0xFEDCBA9876543210]))
    assert request == struct.pack("<Q", 0xFEDCBA9876543210)


def test_puts_gives_the_world_exactly_the_text() -> None:
    world = ScriptedWorld()
    ask(2, struct.pack("<QQ", BUFFER, 5), world, b"hello, world")
    assert world.text == "hello"


def test_puts_may_print_boot_info_but_nothing_below() -> None:
    ask(2, struct.pack("<QQ", 0x13000, 16), ScriptedWorld())
    fails(2, struct.pack("<QQ", 0xFFFF, 16), "outside guest memory")


@pytest.mark.parametrize(("ready", "count"), [(0, 0), (1 << NET0, 1), (1 << NET0 | 1 << NET1, 2)])
def test_poll_gives_the_ready_set_and_their_number(ready: int, count: int) -> None:
    for timeout in (0, (1 << 64) - 1):
        world = ScriptedWorld(poll=[ready])
        request, _ = ask(3, struct.pack("<QQI", timeout, 99, UNTOUCHED), world)
        assert struct.unpack("<QQi", request) == (timeout, ready, count)
        assert world.seen == [("poll", 0, timeout)]


def test_block_write_gives_the_world_the_block() -> None:
    world = ScriptedWorld()
    content = bytes(range(256)) * 2
    request, _ = ask(4, block(DISK, 1024, BUFFER, 512), world, content)
    assert request == block(DISK, 1024, BUFFER, 512)[:32] + struct.pack("<i", OK)
    assert world.seen == [("block_write", 0, DISK, 1024, content)]


def test_block_read_fills_the_buffer_and_nothing_behind() -> None:
    content = b"block! !" * 64
    world = ScriptedWorld(block_read=[content])
    request, buffer = ask(5, block(DISK, CAPACITY - 512, BUFFER, 512), world, b"\xee" * 600)
    assert struct.unpack("<QQQQi", request)[3:] == (512, OK)
    assert buffer[:600] == content + b"\xee" * 88
    assert world.seen == [("block_read", 0, DISK, CAPACITY - 512, 512)]


def test_block_read_that_the_host_cannot_serve_is_eunspec_and_leaves_the_buffer() -> None:
    world = ScriptedWorld(block_read=[None])
    request, buffer = ask(5, block(DISK, 0, BUFFER, 512), world, b"\xee" * 512)
    assert struct.unpack("<QQQQi", request)[4] == EUNSPEC
    assert buffer[:512] == b"\xee" * 512


@pytest.mark.parametrize("number", [4, 5])
@pytest.mark.parametrize(
    ("handle", "offset", "length"),
    [
        (DISK, CAPACITY, 512),
        (DISK, CAPACITY - 512, 1024),
        (DISK, 1, 512),
        (DISK, 0, 511),
        (DISK, 0, 0),
        (DISK, 1 << 63, 512),
        (DISK, (1 << 64) - 512, 512),
        (0, 0, 512),
        (NET0, 0, 512),
        (4, 0, 512),
        ((1 << 64) - 1, 0, 512),
    ],
)
def test_block_requests_off_the_disk_are_einval(
    number: int, handle: int, offset: int, length: int
) -> None:
    world = ScriptedWorld()
    request, _ = ask(number, block(handle, offset, BUFFER, length), world)
    assert struct.unpack("<QQQQi", request)[4] == EINVAL
    assert world.seen == []


@pytest.mark.parametrize("length", [14, 60, 1514])
def test_net_write_gives_the_world_the_frame(length: int) -> None:
    world = ScriptedWorld()
    frame = bytes(i % 251 for i in range(length))
    request, _ = ask(6, net(NET1, BUFFER, length), world, frame)
    assert struct.unpack("<QQQi", request)[3] == OK
    assert world.seen == [("net_write", 0, NET1, frame)]


@pytest.mark.parametrize(
    ("handle", "length"), [(NET0, 0), (NET0, 13), (NET0, 1515), (DISK, 60), (0, 60), (9, 60)]
)
def test_frames_too_short_too_long_or_to_no_nic_are_einval(handle: int, length: int) -> None:
    world = ScriptedWorld()
    request, _ = ask(6, net(handle, BUFFER, length), world)
    assert struct.unpack("<QQQi", request)[3] == EINVAL
    assert world.seen == []


def test_net_read_without_a_frame_is_again_and_keeps_length_and_buffer() -> None:
    world = ScriptedWorld()
    request, buffer = ask(7, net(NET0, BUFFER, 1514), world, b"\xee" * 100)
    assert struct.unpack("<QQQi", request) == (NET0, BUFFER, 1514, AGAIN)
    assert buffer[:100] == b"\xee" * 100
    assert world.seen == [("net_read", 0, NET0, 1514)]


@pytest.mark.parametrize("length", [14, 60, 1514])
def test_net_read_gives_frame_and_length(length: int) -> None:
    frame = bytes(i % 253 for i in range(length))
    request, buffer = ask(
        7, net(NET1, BUFFER, 1514), ScriptedWorld(net_read=[frame]), b"\xee" * 1600
    )
    assert struct.unpack("<QQQi", request) == (NET1, BUFFER, length, OK)
    assert buffer[:1600] == frame + b"\xee" * (1600 - length)


def test_net_read_asks_for_no_more_than_the_buffer_holds() -> None:
    world = ScriptedWorld(net_read=[b"\1" * 20])
    ask(7, net(NET0, BUFFER, 20), world)
    assert world.seen == [("net_read", 0, NET0, 20)]


@pytest.mark.parametrize("handle", [0, DISK, 4, 1 << 40])
def test_net_read_from_no_nic_is_einval(handle: int) -> None:
    request, _ = ask(7, net(handle, BUFFER, 1514), ScriptedWorld())
    assert struct.unpack("<QQQi", request)[3] == EINVAL


@pytest.mark.parametrize(
    ("period", "vector", "result"),
    [(0, 0, OK), (10_000, 32, OK), (1 << 40, 255, OK), (9_999, 32, EINVAL), (1, 32, EINVAL),
     (10_000, 31, EINVAL), (10_000, 256, EINVAL), (10_000, 1 << 31, EINVAL)],
)  # fmt: skip
def test_timer_takes_sane_periods_and_free_vectors(period: int, vector: int, result: int) -> None:
    world = ScriptedWorld()
    request, _ = ask(0x40, struct.pack("<QII", period, vector, UNTOUCHED), world)
    assert struct.unpack("<QIi", request)[2] == result
    assert world.seen == ([("timer", 0, period, vector)] if result == OK else [])


class Ruled(ScriptedWorld):
    """As which generation its guest runs is in its script."""

    def generation(self, at: int) -> int:
        self.seen.append(("generation", at))
        return self._answer("generation", None)  # type: ignore[return-value]


def test_generation_is_the_worlds() -> None:
    for generation in (0, 1, 0xFEDCBA9876543210):
        world = Ruled(generation=[generation])
        request, _ = ask(0x41, struct.pack("<QI", UNTOUCHED, UNTOUCHED), world)
        assert request == struct.pack("<QI", generation, UNTOUCHED)
        assert world.seen == [("generation", 0)]


@pytest.mark.parametrize("world", [LiveWorld, lambda console: SimulatedWorld(3, console, {})])
def test_generation_is_0_if_nobody_protects_the_guest(world: Callable[[Console], World]) -> None:
    request, _ = ask(0x41, struct.pack("<Q", UNTOUCHED), world(Console()))
    assert request == bytes(8)


def test_generation_is_replayed() -> None:
    """A guest that halts with the generation as its status."""
    code = hypercall(0x41, REQUEST) + hypercall(0x41, REQUEST) + hypercall(8, REQUEST - 8)
    image = make_image(code, {REQUEST: bytes(8)})
    recording = record(image, config_for(image), Ruled(generation=[7, 9]))
    assert recording.outcome.status == 9
    assert [e[:4] for e in recording.entries[:2]] == [
        (Kind.GENERATION, 0, 0, 7),
        (Kind.GENERATION, 1, 0, 9),
    ]
    assert replay(image, config_for(image), recording.entries) == recording.outcome


def test_halt_gives_status_and_cookie() -> None:
    for cookie, expected in ((0, b""), (BUFFER, b"trap".ljust(512, b"\0"))):
        image = make_image(
            hypercall(8, REQUEST), {REQUEST: struct.pack("<Qi", cookie, -7), BUFFER: b"trap"}
        )
        world = ScriptedWorld()
        with machine_of(image) as machine:
            outcome = machine.run(world)
        assert (outcome.status, outcome.reason, outcome.trap) == (-7, "", expected)
        assert world.outcome is outcome


def test_cookie_at_the_end_of_memory_is_cut_there() -> None:
    image = make_image(hypercall(8, REQUEST), {REQUEST: struct.pack("<Qi", 8 * MIB - 16, 0)})
    with machine_of(image) as machine:
        assert machine.run(ScriptedWorld()).trap == bytes(16)


def test_nothing_reaches_the_world_after_a_halt_or_a_guest_error() -> None:
    """What follows them in the same block may still execute; it must have no effect."""
    text = struct.pack("<QQ", BUFFER, 4)
    bad = struct.pack("<QQ", 1 << 40, 4)
    for ending in (hypercall(8, HALT), hypercall(2, DATA), hypercall(60, DATA)):
        code = ending + hypercall(2, REQUEST) + b"\x0f\x31" + halt()
        image = make_image(code, {DATA: bad, REQUEST: text, BUFFER: b"late"})
        world, ends = ScriptedWorld(), []
        world.end = ends.append  # type: ignore[method-assign]
        with machine_of(image) as machine, suppress(GuestError):
            machine.run(world)
        assert (world.text, world.now, len(ends)) == ("", 0, 1)


END, FAR = 4 * MIB, (1 << 64) - 256


@pytest.mark.parametrize(
    ("number", "request_"),
    [
        (2, struct.pack("<QQ", END - 8, 9)),
        (2, struct.pack("<QQ", FAR, 512)),
        (2, struct.pack("<QQ", BUFFER, 1 << 40)),
        (2, struct.pack("<QQ", 0x8000, 16)),
        (4, block(DISK, 0, END, 512)),
        (4, block(DISK, 0, FAR, 512)),
        (4, block(DISK, 0, 0x1000, 512)),
        (5, block(DISK, 0, END - 511, 512)),
        (5, block(DISK, 0, FAR, 512)),
        (5, block(DISK, 0, 0x10000, 512)),
        (6, net(NET0, END - 59, 60)),
        (6, net(NET0, FAR, 60)),
        (7, net(NET0, END - 59, 60)),
        (7, net(NET0, BUFFER, FAR)),
        (7, net(NET0, 0xFFFF0, 60)),
        (8, struct.pack("<Qi", END + 1, 0)),
        (8, struct.pack("<Qi", 0x8000, 0)),
    ],
)
def test_data_outside_memory_is_a_guest_error(number: int, request_: bytes) -> None:
    fails(number, request_, f"hypercall on port {0x500 + number:#x}: .*outside|limit")


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 6, 7, 8, 0x40, 0x41])
def test_requests_outside_memory_are_guest_errors(number: int) -> None:
    for address in (END - 4, END, 0xFFFFFFFF, 0x8000):
        fails(number, b"", "outside", address)


@pytest.mark.parametrize("number", [1, 3, 4, 5, 6, 7, 0x40, 0x41])
def test_answers_never_go_to_read_only_memory(number: int) -> None:
    fails(number, b"", "outside writable", 0x10000)
    fails(number, b"", "read-only in this image", TEXT)


def test_reads_never_go_to_code() -> None:
    fails(5, block(DISK, 0, TEXT, 512), "read-only in this image")
    fails(7, net(NET0, TEXT, 60), "read-only in this image")


def test_the_abi_guest_finds_all_as_it_should_be() -> None:
    image = sample("abi")
    config = GuestConfig(image.digest, 8 * MIB, ("--timer=1",), blocks=disk_config(4096))
    console, disk = Console(), MemoryDisk(4096)
    with machine_of(image, config) as machine:
        outcome = machine.run(SimulatedWorld(3, console, {1: disk}))
    assert outcome.status == 0, console.text
    assert console.text.endswith("abi ok\n") and "command line: --timer=1\n" in console.text
    assert disk.content[:512] == disk.content[-512:]


def test_code_that_a_disk_gives_replaces_code_that_was_executed() -> None:
    """On page tables of the guest's own, where the same memory is writable and executable."""
    tables = [DATA + 0x4000, DATA + 0x5000, DATA + 0x6000]
    code, outcome = DATA + 0x8000, DATA + 0x9000
    old, new = (b"\xbb" + bytes((n, 0, 0, 0)) + b"\xc3" for n in (1, 2))  # mov ebx, n; ret
    load_tables = b"\xb8" + struct.pack("<I", tables[0]) + b"\x0f\x22\xd8"  # mov cr3, rax
    call = b"\xb8" + struct.pack("<I", code) + b"\xff\xd0"  # mov eax, code; call rax
    keep = b"\x89\x1c\x25" + struct.pack("<I", outcome + 8)  # mov [outcome + 8], ebx
    image = make_image(
        load_tables + call + hypercall(5, REQUEST) + call + keep + hypercall(8, outcome),
        {
            REQUEST: block(DISK, 0, code, 512),
            tables[0]: struct.pack("<Q", tables[1] | 3),
            tables[1]: struct.pack("<Q", tables[2] | 3),
            tables[2]: struct.pack("<4Q", *(n << 21 | 0x83 for n in range(4))),
            code: old,
            outcome: bytes(16),
        },
        DEVICES[:1],
    )
    config = config_for(image, blocks=disk_config(CAPACITY))
    for count_blocks in (False, True):
        with machine_of(image, config, count_blocks=count_blocks) as machine:
            world = ScriptedWorld(block_read=[new.ljust(512, b"\0")])
            assert machine.run(world).status == 2
