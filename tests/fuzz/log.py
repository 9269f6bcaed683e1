"""Log files: as they are, and with checksums that fit, so that what they hold is looked at too.

What is read must be what a writer could have written, every entry must be describable, and a guest
that is fed from it must end by one of the errors there are for it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import msgpack
from fuzz import code, guest
from fuzz.bounded import bounded_machine
from support import MIB, VERSION_1, config_for, disk_config, hypercall, sample

from vlockstep.errors import LogError, StateError
from vlockstep.machine.config import GuestConfig
from vlockstep.machine.image import Image
from vlockstep.machine.machine import Machine
from vlockstep.machine.memory import Memory
from vlockstep.machine.position import Position
from vlockstep.machine.registers import Registers
from vlockstep.machine.report import GuestError
from vlockstep.machine.state import MachineState
from vlockstep.replay import codec
from vlockstep.replay.entry import Checkpoint, Entry, describe
from vlockstep.replay.keyframe import Keyframe
from vlockstep.replay.keyframes import apply
from vlockstep.replay.logfile import MAGIC, VERSION, LogReader, LogWriter
from vlockstep.replay.pieces import pack
from vlockstep.replay.recorder import Cadence, Recorder
from vlockstep.replay.replayer import Divergence, Replayer, Sequence

_HEAD = struct.Struct("<III")
_REPLAYED = 100
"""Entries of a log with which a guest is fed."""


def check(data: bytes) -> None:
    _check_file(data)
    _check_file(seal(data))


def seeds() -> list[bytes]:
    """Logs of guests that make every kind of exit."""
    abi = sample("abi")
    config = config_for(abi, "--timer=1", blocks=disk_config(guest.CAPACITY))
    return [
        _log(config, _record(Machine(abi, config))),
        _log(_reader_config(), _record(bounded_machine(_reader(), _reader_config()))),
        _log(config_for(sample("hello"), "a", "b"), []),
        (VERSION_1 / "nics.vlog").read_bytes(),
    ]


def seal(data: bytes) -> bytes:
    """The same frames, also those that are too long for the file, with the checksums they need."""
    result, at = data[: len(MAGIC)], len(MAGIC)
    while at + _HEAD.size <= len(data):
        length = _HEAD.unpack_from(data, at)[0]
        content = data[at + _HEAD.size : at + _HEAD.size + length]
        head = struct.pack("<II", length, zlib.crc32(content))
        result += head + struct.pack("<I", zlib.crc32(head)) + content
        at += _HEAD.size + length
    return result


def _check_file(data: bytes) -> None:
    with _file() as path:
        path.write_bytes(data)
        try:
            reader = LogReader(path)
        except LogError:
            return
        with closing(reader):
            assert GuestConfig.from_dict(reader.config.to_dict()) == reader.config
            try:
                for found in reader.frames():
                    if isinstance(found, Keyframe):
                        _check_keyframe(found)
                    else:
                        _check_batch(*found, reader.version)
            except LogError:
                return


def _check_batch(first: int, entries: list[Entry], version: int) -> None:
    if version == VERSION:
        assert codec.decode(codec.encode(first, entries)) == (first, entries)
    for entry in entries:
        try:
            assert describe(entry)
        except LogError:
            continue
        if entry[4]:
            _check_checkpoint(entry[4])
    with closing(bounded_machine(_reader(), _reader_config())) as machine:
        try:
            machine.run(Replayer(Sequence(islice(entries, _REPLAYED)), machine))
        except (GuestError, Divergence, LogError) as error:
            str(error)


def _check_keyframe(keyframe: Keyframe) -> None:
    assert Keyframe.of(msgpack.unpackb(keyframe.pack())) == keyframe
    memory = Memory(2 * MIB)
    with closing(memory), suppress(LogError, StateError):
        apply(keyframe, memory)
    with suppress(StateError):
        state = MachineState.unpack(keyframe.machine)
        assert MachineState.unpack(state.pack()) == state


def _check_checkpoint(data: bytes) -> None:
    like = Registers({"rax": 0, "rip": 0, "xmm0": 0})
    try:
        checkpoint = Checkpoint.unpack(data, like)
    except LogError:
        return
    assert Checkpoint.unpack(checkpoint.pack(), like) == checkpoint


@cache
def _reader() -> Image:
    """A guest with a timer that reads all there is to read, over and over."""
    calls = [hypercall(number, code.ANSWER) for number in (1, 3, 0x41)]
    calls += [hypercall(number, code.BLOCK_REQUEST) for number in (4, 5)]
    calls += [hypercall(number, code.NET_REQUEST) for number in (6, 7)]
    calls += [hypercall(2, code.CONSOLE_REQUEST), b"\x0f\x31", code.SPIN]  # rdtsc
    return code.image_of(code.HANDLERS | code.TIMER, b"".join(calls * 6))


def _reader_config() -> GuestConfig:
    return guest.config_of(_reader(), "westmere")


def _record(machine: Machine) -> list[Entry]:
    entries: list[Entry] = []
    with closing(machine):
        world = Recorder(guest.NoisyWorld(1), machine, entries.append)
        with suppress(GuestError):
            machine.run(world)
    return entries


def _log(config: GuestConfig, entries: list[Entry]) -> bytes:
    with _file() as path:
        with LogWriter(path, config) as writer:
            for number, entry in enumerate(entries):
                writer.append(entry)
                if number % 16 == 0:
                    writer.flush()
                if number == 16:
                    writer.keyframe(_keyframe(number + 1))
        return path.read_bytes()


def _keyframe(sequence: int) -> Keyframe:
    with closing(bounded_machine(_reader(), _reader_config())) as machine:
        state = machine.capture()
    small = replace(state, memory=((0x1000, b"memory"),)).pack()
    groups = tuple(pack([(0x2000, b"page"), (0x10000, bytes(4096))]))
    return Keyframe(sequence, Position(16), small, (1, 2), 3, Cadence(), b"registers", groups)


@contextmanager
def _file() -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        yield Path(folder, "fuzz.vlog")
