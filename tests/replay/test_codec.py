"""Batches of entries: exact, small, and safe against whatever comes instead of one."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlockstep.errors import LogError
from vlockstep.machine.registers import Registers
from vlockstep.replay import codec
from vlockstep.replay.entry import OUTPUTS, Checkpoint, End, Entry, Kind, Value, describe

TOP = (1 << 64) - 1
U64 = st.integers(0, TOP)
VECTOR = st.integers(0, 255)
SMALL = st.binary(max_size=20)
NUMBERS = [Kind.CYCLES, Kind.WALLTIME, Kind.POLL, Kind.INTERRUPT, Kind.GENERATION, Kind.RANDOM]
HANDLE = st.integers(0, 63)
DIGESTS = [Kind.CONSOLE, Kind.NET_WRITE, Kind.BLOCK_WRITE]


@st.composite
def logs(draw: st.DrawFn) -> tuple[int, list[Entry]]:
    exits = draw(st.integers(0, 1 << 60))
    entries: list[Entry] = []
    for _ in range(draw(st.integers(1, 12))):
        kind = draw(st.sampled_from(list(Kind)))
        value: Value
        if kind in NUMBERS:
            value = draw(VECTOR if kind == Kind.INTERRUPT else U64)
        elif kind == Kind.NET_READ:
            value = draw(HANDLE), draw(st.none() | SMALL)
        else:
            value = draw(st.none() | SMALL) if kind == Kind.BLOCK_READ else draw(SMALL)
        blocks, checkpoint = draw(st.just(0) | U64), draw(st.just(b"") | SMALL)
        entries.append((int(kind), exits, blocks, value, checkpoint))
        exits += draw(st.integers(0, 1 << 30))
    return draw(st.integers(0, 1 << 60)), entries


@given(logs())
def test_what_is_encoded_is_decoded(log: tuple[int, list[Entry]]) -> None:
    assert codec.decode(codec.encode(*log)) == log
    first, entries = log
    outputs = [(n, entry[0]) for n, entry in enumerate(entries, first) if entry[0] in OUTPUTS]
    assert codec.outline(codec.encode(*log)) == (first, first + len(entries), outputs)


FRAME = bytes(60)


def test_a_nic_takes_two_bytes_to_tell() -> None:
    """Its handle, and that there is one."""
    rows = [[3, 0, FRAME], [3, 0, [63, FRAME]]]
    old, new = (len(msgpack.packb([0, 0, [row]])) for row in rows)
    assert len(codec.encode(0, [(3, 0, 0, (63, FRAME), b"")])) == new == old + 2


def test_frames_of_log_version_1_are_of_an_unknown_nic() -> None:
    batch = msgpack.packb([7, 5, [[3, 0, FRAME], [3, 1, None, 2, b"c"], [0, 1, 9]]])
    entries = [(3, 5, 0, (None, FRAME), b""), (3, 6, 2, (None, None), b"c"), (0, 7, 0, 9, b"")]
    assert codec.decode(batch, handles=False) == (7, entries)
    with pytest.raises(LogError):
        codec.decode(batch)
    with pytest.raises(LogError):
        codec.decode(codec.encode(7, [(3, 0, 0, (1, FRAME), b"")]), handles=False)


def test_a_clock_read_takes_at_most_12_bytes_and_usually_6() -> None:
    for steps, most in ((range(0, 1 << 16, 257), 6), ([(1 << 63) - 1, 0, (1 << 64) - 1], 12)):
        at, value = 10, 1 << 62
        entries: list[Entry] = [(0, at, 0, value, b"")]
        for step in steps:
            at, value = at + 1, (value + step) % (1 << 63)
            entries.append((0, at, 0, value, b""))
        one = len(codec.encode(5, entries[:1]))
        assert one <= 9 + 2 * 9 + 12
        assert len(codec.encode(5, entries)) - one <= most * len(list(steps)) + 4


@given(U64, U64, st.integers(0, 127), st.sampled_from([Kind.CYCLES, Kind.WALLTIME]))
def test_no_clock_entry_is_larger_than_12_bytes(a: int, b: int, step: int, kind: Kind) -> None:
    first: Entry = (int(kind), 0, 0, a, b"")
    second: Entry = (int(kind), step, 0, b, b"")
    assert len(codec.encode(0, [first, second])) - len(codec.encode(0, [first])) <= 12


def test_clock_values_of_any_distance_are_kept() -> None:
    entries: list[Entry] = [(0, 0, 0, TOP, b""), (0, 1, 0, 0, b""), (1, 2, 0, TOP, b"")]
    entries += [(1, 3, 0, 0, b""), (1, 4, 0, TOP, b""), (0, 5, 0, TOP, b"")]
    assert codec.decode(codec.encode(0, entries)) == (0, entries)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats()
    | st.text(max_size=3)
    | st.binary(max_size=6)
    | st.just(msgpack.ExtType(5, b"abc"))
    | st.just(msgpack.Timestamp(1, 2))
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=10,
)
ROWS = st.lists(
    st.tuples(st.integers(-1, 11), st.integers(-1, 3), SCALARS)
    | st.tuples(st.just(3), st.integers(0, 3), st.tuples(SCALARS, SCALARS))
    | st.tuples(st.integers(0, 9), st.integers(0, 3), SCALARS, SCALARS, SCALARS)
    | ANYTHING,
    max_size=5,
)


def check(content: bytes) -> None:
    """It is refused as a log error, or it is a valid batch."""
    try:
        first, entries = codec.decode(content)
    except LogError:
        return
    assert type(first) is int and first >= 0 and entries
    for kind, exits, blocks, value, checkpoint in entries:
        assert type(kind) is int and Kind(kind) is not None
        assert type(exits) is int and exits >= 0 and type(blocks) is int and blocks >= 0
        assert type(checkpoint) is bytes
        if kind in NUMBERS:
            assert type(value) is int and 0 <= value < 1 << 64
        elif kind == Kind.NET_READ:
            assert type(value) is tuple
            handle, frame = value
            assert type(handle) is int and 0 <= handle < 64
            assert type(frame) is bytes or frame is None
        else:
            assert type(value) is bytes or (kind == Kind.BLOCK_READ and value is None)
    assert codec.decode(codec.encode(first, entries)) == (first, entries)


@given(ANYTHING | st.tuples(SCALARS, SCALARS, ROWS) | st.tuples(U64, U64, ROWS))
def test_hostile_structures_are_log_errors(structure: Any) -> None:
    check(msgpack.packb(structure))


@given(st.binary(max_size=60))
def test_noise_is_a_log_error(content: bytes) -> None:
    check(content)


@given(logs(), st.integers(0, 1 << 30), st.integers(1, 255), st.booleans())
def test_damaged_batches_are_log_errors(
    log: tuple[int, list[Entry]], at: int, change: int, cut: bool
) -> None:
    content = bytearray(codec.encode(*log))
    at %= len(content)
    content[at] ^= change
    check(bytes(content[:at] if cut else content))


@pytest.mark.parametrize(
    "batch",
    [
        (0, 0, []),
        (-1, 0, [(0, 0, 1)]),
        (0, -1, [(0, 0, 1)]),
        (True, 0, [(0, 0, 1)]),
        (0, 0, [(len(Kind), 0, 1)]),
        (0, 0, [(-1, 0, 1)]),
        (0, 0, [(True, 0, 1)]),
        (0, 0, [(1.0, 0, 1)]),
        (0, 0, [(0, -1, 1)]),
        (0, 0, [(0, 0, -1)]),
        (0, 0, [(0, 0, 5), (0, 0, -6)]),
        (0, 0, [(8, 0, 256)]),
        (0, 0, [(0, 0, b"")]),
        (0, 0, [(5, 0, 1)]),
        (0, 0, [(5, 0, None)]),
        (0, 0, [(5, 0, "text")]),
        (0, 0, [(0, 0, True)]),
        (0, 0, [(3, 0, FRAME)]),
        (0, 0, [(3, 0, None)]),
        (0, 0, [(3, 0, (1,))]),
        (0, 0, [(3, 0, (1, FRAME, 1))]),
        (0, 0, [(3, 0, (-1, FRAME))]),
        (0, 0, [(3, 0, (64, FRAME))]),
        (0, 0, [(3, 0, (None, FRAME))]),
        (0, 0, [(3, 0, (True, FRAME))]),
        (0, 0, [(3, 0, (1, 1))]),
        (0, 0, [(4, 0, (1, FRAME))]),
        (0, 0, [(0, 0)]),
        (0, 0, [(0, 0, 1, 2)]),
        (0, 0, [(0, 0, 1, -2, b"")]),
        (0, 0, [(0, 0, 1, 2, None)]),
        (0, 0, [(0, 0, 1, 2, b"", 0)]),
        (0, 0, [b"\0\0\1"]),
        (0, 0, {b"\0\0\1": 0}),
        (0, 0),
        (0, TOP, [(0, 1, 1)]),
        (0, 1, [(8, TOP, 33)]),
        (TOP, 0, [(0, 0, 1)]),
        (0, 0, [(0, 0, 1)], 0),
        None,
    ],
)
def test_almost_valid_batches_are_refused(batch: Any) -> None:
    with pytest.raises(LogError, match="malformed batch"):
        codec.decode(msgpack.packb(batch))


def test_nesting_without_end_is_refused() -> None:
    with pytest.raises(LogError):
        codec.decode(b"\x91" * 100_000)


LIKE = Registers({"rax": 1 << 63, "rip": 5, "xmm0": (1 << 128) - 1, "rbx": 0})


@given(st.dictionaries(st.sampled_from(sorted(LIKE)), st.integers(0, (1 << 128) - 1)), U64, SMALL)
def test_checkpoints_come_back_with_all_registers(
    values: dict[str, int], address: int, digest: bytes
) -> None:
    checkpoint = Checkpoint(Registers({n: values.get(n, 0) for n in LIKE}), address, digest)
    assert Checkpoint.unpack(checkpoint.pack(), LIKE) == checkpoint


@given(st.binary(max_size=40) | ANYTHING.map(msgpack.packb) | st.tuples(
    ANYTHING, ANYTHING, ANYTHING, ANYTHING).map(msgpack.packb))  # fmt: skip
def test_hostile_checkpoints_and_ends_are_log_errors(content: bytes) -> None:
    for unpack in (lambda: Checkpoint.unpack(content, LIKE), lambda: End.unpack(content)):
        with suppress(LogError):
            unpack()


@given(logs())
def test_every_entry_can_be_described(log: tuple[int, list[Entry]]) -> None:
    for entry in log[1]:
        if entry[0] == Kind.END:
            entry = (*entry[:3], End(3, "", b"", b"").pack(), b"")
        assert Kind(entry[0]).name.lower().replace("_", " ") in describe(entry)


def test_entries_that_are_too_long_for_one_batch_go_in_several() -> None:
    large: Entry = (Kind.BLOCK_READ, 0, 0, bytes(codec.MAX_BATCH // 2), b"")
    parts = list(codec.batches(3, [large] * 7))
    assert [(first, end) for first, end, _ in parts] == [(n, n + 1) for n in range(3, 10)]
    assert all(codec.decode(content) == (first, [large]) for first, _, content in parts)
