"""`vlockstep log show`, and logs that are not what they should be."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgpack
import pytest
from cli_command import Command

from vlockstep import Entry, LogReader, LogWriter
from vlockstep.replay.entry import Kind
from vlockstep.replay.logfile import MAGIC, VERSION, frame

HEAD = 12
"""Bytes of a frame's head."""


def batch_offsets(log: Path) -> list[int]:
    """Where the header and each batch begin, and the end of the file."""
    data, offsets = log.read_bytes(), [len(MAGIC)]
    while offsets[-1] < len(data):
        length = int.from_bytes(data[offsets[-1] : offsets[-1] + 4], "little")
        offsets.append(offsets[-1] + HEAD + length)
    return offsets


def rewrite(log: Path, entries: list[Entry]) -> None:
    """Write `entries` to `log`, each a batch of its own."""
    config = LogReader(log).config
    with LogWriter(log, config) as writer:
        for entry in entries:
            writer.append(entry)
            writer.flush()


@pytest.fixture
def short_log(hello_log: Path) -> Path:
    """The three entries of `hello_log`, without a checkpoint, in three batches."""
    rewrite(hello_log, [(*entry[:4], b"") for entry in LogReader(hello_log).entries()])
    return hello_log


def with_header(log: Path, header: Any) -> None:
    data = log.read_bytes()
    log.write_bytes(MAGIC + frame(msgpack.packb(header)) + data[batch_offsets(log)[1] :])


def test_show(vlockstep: Command, hello_log: Path) -> None:
    result = vlockstep("log", "show", hello_log)
    head, entries = result.out.split("\n\n")
    assert (result.status, result.err) == (0, "")
    assert "hello.hvt (" in head
    assert "16 MiB" in head
    assert "--status=3" in head
    rows = [line.split() for line in entries.splitlines()]
    assert [row[:3] for row in rows] == [
        ["0", "exits:0", "console"],
        ["1", "exits:1", "console"],
        ["2", "exits:2", "end"],
    ]
    assert rows[2][3:] == ["status", "3"]


def test_show_json(vlockstep: Command, hello_log: Path) -> None:
    head, *entries = map(json.loads, vlockstep("log", "show", hello_log, "--json").out.splitlines())
    assert head["version"] == VERSION
    assert head["config"]["arguments"] == ["--status=3"]
    assert [e["sequence"] for e in entries] == [0, 1, 2]
    assert [e["kind"] for e in entries] == ["console", "console", "end"]
    assert entries[0]["checkpoint"] is True


def test_show_a_part(vlockstep: Command, hello_log: Path) -> None:
    result = vlockstep("log", "show", hello_log, "--from", 1, "--count", 1, "--json")
    assert [json.loads(line)["sequence"] for line in result.out.splitlines()[1:]] == [1]
    assert len(vlockstep("log", "show", hello_log, "--from", 9, "--json").out.splitlines()) == 1
    assert vlockstep("log", "show", hello_log, "--from", -1).status == 2


def test_cut_off_anywhere(vlockstep: Command, short_log: Path) -> None:
    """Of every length, what is whole is shown."""
    data, offsets = short_log.read_bytes(), batch_offsets(short_log)
    for length in range(len(data)):
        short_log.write_bytes(data[:length])
        result = vlockstep("log", "show", short_log, "--json")
        whole = sum(offset <= length for offset in offsets[1:]) - 1
        if whole < 0:
            message = "is not a vlockstep log" if length < len(MAGIC) else "ends within its header"
            assert (result.status, result.out) == (1, "")
            assert message in result.err
        else:
            assert (result.status, len(result.out.splitlines())) == (0, 1 + whole)
            warning = f"the batch at offset {offsets[1 + whole]} is incomplete"
            assert (warning in result.err) == (length not in offsets)


def test_replay_of_what_is_whole(vlockstep: Command, short_log: Path) -> None:
    data, offsets = short_log.read_bytes(), batch_offsets(short_log)
    for whole, (start, end) in enumerate(pairwise(offsets[1:])):
        for length in (start, start + 1, start + HEAD, end - 1):
            short_log.write_bytes(data[:length])
            result = vlockstep("replay", short_log, "--json")
            state = json.loads(result.out)
            assert (result.status, state["end"], state["entries"]) == (0, "log", whole)
            assert state["position"] == f"exits:{whole}"
            assert state["truncated_at"] == (None if length == start else start)
            warning = f"warning: {short_log} is cut off: the batch at offset {start}"
            assert (warning in result.err) == (length != start)
            assert "Traceback" not in result.err


@pytest.mark.parametrize("length", [0, 5, 30])
def test_replay_of_hardly_anything(vlockstep: Command, short_log: Path, length: int) -> None:
    short_log.write_bytes(short_log.read_bytes()[:length])
    result = vlockstep("replay", short_log)
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith("vlockstep: ")


def test_flipped_bits_are_noticed(vlockstep: Command, short_log: Path) -> None:
    """In the magic, in every byte of every head, here and there in the contents."""
    data, offsets = short_log.read_bytes(), batch_offsets(short_log)
    heads = {start + byte for start in offsets[:-1] for byte in range(HEAD)}
    for offset in sorted({*range(len(MAGIC)), *heads, *range(0, len(data), 11)}):
        damaged = bytearray(data)
        damaged[offset] ^= 0x40
        short_log.write_bytes(damaged)
        result = vlockstep("log", "show", short_log, "--json")
        assert result.status == 1
        assert result.err.startswith("vlockstep: ")
        if offset >= len(MAGIC):
            start = max(o for o in offsets if o <= offset)
            assert f"damaged at offset {start}" in result.err or (
                f"damaged between offsets {start + HEAD} and" in result.err
            )
            assert len(result.out.splitlines()) == offsets.index(start), "what is whole is shown"


@pytest.mark.parametrize("part", ["header", "head of a batch", "payload"])
def test_replay_of_a_damaged_log(vlockstep: Command, short_log: Path, part: str) -> None:
    offsets = batch_offsets(short_log)
    offset = {"header": 20, "head of a batch": offsets[2], "payload": offsets[2] + HEAD + 2}[part]
    data = bytearray(short_log.read_bytes())
    data[offset] ^= 1
    short_log.write_bytes(data)
    result = vlockstep("replay", short_log)
    assert (result.status, result.out) == (1, "")
    assert "damaged" in result.err
    assert ("replayed and verified before it: 1" in result.err) == (part != "header")


@pytest.mark.parametrize(
    ("header", "status", "message"),
    [
        ({"version": 2, "config": {}}, 1, "is of log version 2; this vlockstep reads version 1"),
        ({"version": 1}, 1, "configuration is malformed"),
        ({"version": 1, "config": {"memory": 1}}, 1, "configuration is malformed"),
        ([], 1, "malformed header"),
        ("text", 1, "malformed header"),
    ],
)
def test_header_that_is_not_ours(
    vlockstep: Command, short_log: Path, header: object, status: int, message: str
) -> None:
    with_header(short_log, header)
    for command in (["log", "show"], ["replay"]):
        result = vlockstep(*command, short_log)
        assert (result.status, result.out) == (status, "")
        assert message in result.err


def test_not_a_log(vlockstep: Command, tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path, Path(__file__)):
        for command in (["log", "show"], ["replay"]):
            result = vlockstep(*command, path)
            assert (result.status, result.out) == (1, "")
            assert "log" in result.err


def test_divergence_is_reported(vlockstep: Command, hello_log: Path) -> None:
    first, (kind, *at, value, checkpoint), last = LogReader(hello_log).entries()
    assert kind == Kind.CONSOLE and isinstance(value, bytes)
    rewrite(hello_log, [first, (kind, at[0], at[1], value[::-1], checkpoint), last])
    result = vlockstep("replay", hello_log)
    assert (result.status, result.out) == (1, "")
    assert "divergence at entry 1, exits:1: the console text is not the one" in result.err
    assert "the registers were still equal at entry 0" in result.err
    assert "=> " in result.err


def test_entries_after_the_end(vlockstep: Command, short_log: Path) -> None:
    entries = list(LogReader(short_log).entries())
    rewrite(short_log, [*entries, entries[-1]])
    result = vlockstep("replay", short_log)
    assert result.status == 1
    assert "there are entries after the guest's end" in result.err
