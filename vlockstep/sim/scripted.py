"""Guests without a CPU: small programs that make exits as a machine does, a hundred times as fast.

Everything a scripted guest has computed is in its `chain`, a hash of every input and of the place
of it, which its outputs show. So an input that is lost, doubled, changed or taken somewhere else
shows in whatever follows it. The chain leaves traces in a few pages of RAM, and depends on them.

Its state is all that its World has told it: who has that runs the program again as far as that
leads, beside the RAM that was given to it.
"""

from __future__ import annotations

import struct
import zlib
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack

from vlockstep.errors import StateError
from vlockstep.machine.config import GuestConfig
from vlockstep.machine.image import Image
from vlockstep.machine.position import Position
from vlockstep.machine.registers import GENERAL, Registers
from vlockstep.machine.world import Cause, NoAnswer, Outcome, Stop, World, WorldChanged
from vlockstep.sim.linear import Value, apply

BLOCK = 16
RECORD = struct.Struct("<QQ")
"""A block of the ledger's disk: the line's number, and the chain."""
REPLY = struct.Struct("<QQQ")
"""What a reply holds: the request's number, the chain before it, and after it."""
CLIENTS = 3
"""Of the program `kv`. Its requests are client, number and words, its replies client, number and
reply, in MessagePack."""
HEADER = 14

_WORK = 20_000
"""Blocks of computation between two exits of a guest with a timer."""
_VECTOR = 32
_REWRITES = 3
_TAKEN_EVERY = 4
"""Of so many exits there is one at which the state cannot be taken."""
PAGES = 8
_PAGE = 16
_ZERO = dict.fromkeys(GENERAL, 0)


class ScriptedMachine:
    """Has what a `Machine` has, as far as replicas use it.

    The first argument in `config` is the number of lines or requests, and the second the program:
    `ledger` writes a block and then prints a line for each, `preempt` does so with a timer,
    `rewrite` uses the same block for all lines, and reads it back, `tally` answers numbered
    requests, and `kv` so many of each of its clients, as the guest `kv` would.
    """

    def __init__(self, image: Image, config: GuestConfig, count_blocks: bool) -> None:
        self.image = image
        self.config = config
        self.memory = _Memory(self)
        self.core_directory: Path | None = None
        self.outcome: Outcome | None = None
        self.world: World
        self.exits = 0
        self.fallback = ""
        self.chain = 0
        self._blocks = 0
        self._timer = (0, 0)
        self._breakpoint = Position(-1)
        self._on_breakpoint: Callable[[], None] = lambda: None
        self._stop = False
        self._visitors: deque[Callable[[], None]] = deque()
        self._heard: list[Any] = []
        """What its World has told it."""
        self._past: deque[Any] = deque()
        """What it is told again."""
        self._ram = self.memory.content

    @property
    def position(self) -> Position:
        return Position(self.exits, self._blocks)

    @property
    def stops_anywhere(self) -> bool:
        return False

    @property
    def timed(self) -> bool:
        return self._timer[0] > 0

    def registers(self) -> Registers:
        return Registers({**_ZERO, "rip": self.exits, "rax": self.chain})

    def stop(self) -> None:
        self._stop = True

    def break_at(
        self, position: Position, action: Callable[[], None], *, exact: bool = True
    ) -> None:
        self._breakpoint, self._on_breakpoint = position, action

    def dump_core(self, registers: Registers) -> tuple[Path | None, str]:
        return None, ""

    def read_virtual(self, address: int, length: int) -> bytes:
        return b""

    def count(self, wanted: bool) -> None:
        pass

    def kick(self) -> None:
        pass

    def visit(self, action: Callable[[], None]) -> None:
        self._visitors.append(action)

    def call_off(self, action: Callable[[], None]) -> None:
        self._visitors.remove(action)

    def let_in(self) -> None:
        for _ in range(len(self._visitors)):
            self._visitors.popleft()()

    def close(self) -> None:
        pass

    def replace_world(self, world: World) -> None:
        self.world = world
        if self._timer[0]:
            world.timer(self.exits, *self._timer, self.kick)

    def run(self, world: World) -> Outcome | Stop:
        """Once: a program that was stopped cannot go on."""
        self.world = world
        if self._past:
            self.exits, self.chain, self._timer, self._ram = 0, 0, (0, 0), bytearray(PAGES * _PAGE)
        try:
            return self._run()
        except NoAnswer:
            return Stop(self.position, Cause.REQUEST if self._stop else Cause.NO_ANSWER)

    def _run(self) -> Outcome:
        count, program = int(self.config.arguments[0]), self.config.arguments[1]
        if program == "preempt":
            self._arm_timer()
        if program == "tally":
            self._tally(count)
        elif program == "kv":
            self._kv(count)
        elif program == "rewrite":
            self._rewrite(count)
        else:
            self._ledger(count)
        outcome = Outcome(0, "", self.position, self.registers(), self.memory.digest())
        self._ask("end", outcome)
        self.outcome = outcome
        return outcome

    # Programs

    def _ledger(self, lines: int) -> None:
        disk = self._handle("disk")
        after = 0
        for number in range(1, lines + 1):
            self._input("poll", 1_000_000)
            self._input("cycles")
            before, after = after, self.chain
            self._exit("block_write", disk, (number - 1) * BLOCK, RECORD.pack(number, after))
            self._exit("console", b"line %d %08x %08x\n" % (number, before, after))

    def _rewrite(self, lines: int) -> None:
        """What it finds on the disk is what it has written there last."""
        disk = self._handle("disk")
        after = 0
        for number in range(1, lines + 1):
            self._input("poll", 1_000_000)
            found = self._exit("block_read", disk, 0, BLOCK)
            if found != RECORD.pack(number - 1, after):
                self._exit("console", b"line %d is lost\n" % (number - 1))
            before = after
            for _ in range(_REWRITES):
                self._input("cycles")
                after = self.chain
                self._exit("block_write", disk, 0, RECORD.pack(number, after))
            self._exit("console", b"line %d %08x %08x\n" % (number, before, after))

    def _tally(self, requests: int) -> None:
        nic = self._handle("net")
        last, reply = 0, b""
        while True:
            self._exit("poll", 1_000_000_000)
            while (frame := self._exit("net_read", nic, 1514)) is not None:
                (number,) = struct.unpack_from("<Q", frame, HEADER)
                if number == last + 1 and number > requests:
                    return
                if number == last + 1:
                    before, last = self.chain, number
                    self._input("cycles")
                    addresses = frame[6:12] + frame[:6] + frame[12:HEADER]
                    reply = addresses + REPLY.pack(number, before, self.chain)
                if number == last:
                    self._exit("net_write", nic, reply)

    def _kv(self, requests: int) -> None:
        """A request may come again, and one that its client has given up may come late."""
        nic = self._handle("net")
        values: dict[bytes, Value] = {}
        replies = dict.fromkeys(range(CLIENTS), (0, b""))
        while any(last <= requests for last, _ in replies.values()):
            self._exit("poll", 1_000_000_000)
            while (frame := self._exit("net_read", nic, 1514)) is not None:
                client, number, words = msgpack.unpackb(frame[HEADER:], use_list=False)
                last, reply = replies[client]
                if number > last:
                    self._input("cycles")
                    values[words[1]], answer = apply(words, values.get(words[1]))
                    addresses = frame[6:12] + frame[:6] + frame[12:HEADER]
                    reply = addresses + msgpack.packb((client, number, answer))
                    replies[client] = number, reply
                if number >= last:
                    self._exit("net_write", nic, reply)

    def _handle(self, name: str) -> int:
        device = self.image.device(name)
        assert device is not None
        return device.handle

    # What a machine does

    def _input(self, call: str, *arguments: object) -> None:
        """An exit whose value the guest takes into account."""
        at = self.exits
        self._mix(at, self._exit(call, *arguments))

    def _exit(self, call: str, *arguments: object) -> Any:
        """Serve an exit with a call of the World, and compute up to the next."""
        value = self._ask(call, self.exits, *arguments)
        self.exits += 1
        self._blocks = 0
        self.let_in()
        if self._breakpoint <= self.position:
            self._on_breakpoint()
            if self._stop:
                raise NoAnswer
        if self._timer[0]:
            self._compute()
        return value

    def _compute(self) -> None:
        while True:
            stop = self._ask("stop_at", self.position)
            if stop is None or stop >= _WORK:
                self._blocks = _WORK
                return
            self._blocks = max(stop, self._blocks + 1)
            vector = self._ask("interrupt", self.position, True)
            if vector is not None:
                self._mix(*self.position, vector)

    def _arm_timer(self) -> None:
        self._timer = (1_000_000, _VECTOR)
        self._exit("timer", *self._timer, self.kick)

    def _ask(self, call: str, *arguments: object) -> Any:
        if self._past:
            answer = self._past.popleft()
            self._heard.append(answer)
            return answer
        self._ram = self.memory.content
        while True:
            try:
                answer = getattr(self.world, call)(*arguments)
                self._heard.append(answer)
                return answer
            except WorldChanged:
                continue

    def _mix(self, *values: int) -> None:
        """Into the chain, and into a page of RAM, with what another page holds."""
        found = 5 * self.exits % PAGES * _PAGE
        chain = zlib.crc32(struct.pack(f"<{len(values)}Q", *values), self.chain)
        self.chain = zlib.crc32(self._ram[found : found + _PAGE], chain)
        place = self.exits % PAGES * _PAGE
        self._ram[place : place + _PAGE] = struct.pack("<QQ", self.exits, self.chain)
        if self._ram is self.memory.content:
            self.memory.written.add(place)

    # Its state

    def track(self) -> WrittenPages:
        return WrittenPages(self.memory)

    def save(self) -> bytes:
        if self.exits % _TAKEN_EVERY == _TAKEN_EVERY - 1:
            raise StateError("the state of a scripted guest is not taken at every exit")
        packed: bytes = msgpack.packb((self.exits, self._blocks, self._heard))
        return packed

    def become(self, state: bytes) -> None:
        self.exits, self._blocks, heard = msgpack.unpackb(state, use_list=False)
        self._past.extend(heard)


class _Memory:
    """A few small pages; what a digest shows of them is the chain."""

    def __init__(self, machine: ScriptedMachine) -> None:
        self._machine = machine
        self.content = bytearray(PAGES * _PAGE)
        self.written: set[int] = set()

    @property
    def size(self) -> int:
        return len(self.content)

    def peek(self, address: int, length: int) -> bytes:
        return bytes(self.content[address : address + length])

    def peek_into(self, address: int, target: memoryview) -> None:
        target[:] = self.peek(address, len(target))

    def write(self, address: int, content: bytes) -> None:
        self.content[address : address + len(content)] = content

    fill = write

    def clear(self) -> None:
        self.content[:] = bytes(len(self.content))

    def digest(self) -> bytes:
        return struct.pack("<Q", self._machine.chain) + self.content

    @property
    def used(self) -> int:
        return self.size

    def extents(self) -> list[tuple[int, int]]:
        return []


class WrittenPages:
    """Which pages of a scripted guest were written."""

    way = "a list of them"

    def __init__(self, memory: _Memory) -> None:
        self._memory = memory
        memory.written.update(range(0, memory.size, _PAGE))

    def scan(self) -> list[tuple[int, int]]:
        written = sorted(self._memory.written)
        self._memory.written.clear()
        return [(page, page + _PAGE) for page in written]

    def read(self, start: int, end: int) -> bytes:
        return self._memory.peek(start, end - start)

    def close(self) -> None:
        pass
