"""`vlockstep log show`, and logs that are not what they should be."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgpack
import pytest
from cli_command import Command
from support import VERSION_1, some

from vlockstep import Entry, LogReader, LogWriter
from vlockstep.machine.basis import basis
from vlockstep.replay.entry import Kind
from vlockstep.replay.frames import frame
from vlockstep.replay.logfile import MAGIC, VERSION

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
    assert f"results {basis()['results']}" in head
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
    assert vlockstep("log", "show", hello_log, "--from", -1).status == 2


@pytest.mark.parametrize("more", [[], ["--json"], ["--replay"], ["--kind", "console"]])
def test_nothing_that_far(vlockstep: Command, hello_log: Path, more: list[str]) -> None:
    result = vlockstep("log", "show", hello_log, "--from", 3, *more)
    assert result.status == 2
    assert result.err == (f"vlockstep: {hello_log} has 3 entries: there is none from 3 on\n")
    assert vlockstep("log", "show", hello_log, "--from", 3, "--count", 0, *more).status == 0


@pytest.mark.parametrize("more", [[], ["--replay"]])
def test_show_kinds(vlockstep: Command, ledger_log: Path, more: list[str]) -> None:
    def kinds(*options: object) -> list[str]:
        result = vlockstep("log", "show", ledger_log, "--json", *options, *more)
        assert result.status == 0
        return [json.loads(line)["kind"] for line in result.out.splitlines()[1:]]

    both = ["--kind", "console", "--kind", "end"]
    assert kinds(*both) == [*["console"] * 18, "end"]
    assert kinds(*both, "--count", 1) == ["console"]
    assert kinds(*both, "--from", 70) == ["end"]
    assert kinds("--kind", "net_read") == []
    none = vlockstep("log", "show", ledger_log, "--kind", "net_read", *more)
    assert none.err == f"vlockstep: {ledger_log} has no entry of that kind from 0 on\n"
    wrong = vlockstep("log", "show", ledger_log, "--kind", "disk")
    assert (wrong.status, wrong.out) == (2, "")
    assert "'disk' is no kind of entry: write one of cycles, walltime, poll" in wrong.err


@pytest.fixture
def ledger_log(vlockstep: Command, tmp_path: Path, disk: Path) -> Path:
    """18 lines: as many texts and disk writes, and a disk read."""
    log = tmp_path / "ledger.vlog"
    arguments = ["--mem", 16, "--block", f"disk={disk}", "--", "--lines=17", "--pause=0"]
    assert vlockstep("record", "ledger", "-o", log, *arguments).status == 0
    return log


def test_show_outputs(vlockstep: Command, ledger_log: Path, disk: Path) -> None:
    """The texts, and where the blocks are, as console and disk got them."""
    plain = vlockstep("log", "show", ledger_log)
    assert "outputs     only as digests in a log; --replay shows them\n" in plain.out
    assert "offset" not in plain.out
    _, *shown = vlockstep("log", "show", ledger_log, "--json", "--replay").out.splitlines()
    _, *known = vlockstep("log", "show", ledger_log, "--json").out.splitlines()
    entries = [json.loads(line) for line in shown]
    told = ("device", "offset", "length", "text")
    without = [{k: v for k, v in entry.items() if k not in told} for entry in entries]
    assert without == [{k: v for k, v in json.loads(x).items() if k != "length"} for x in known]
    assert [json.loads(line)["length"] for line in known if '"block_read"' in line] == [512]

    text = "".join(entry.get("text", "") for entry in entries)
    lines = text.splitlines()
    assert [line.split()[:2] for line in lines[:17]] == [
        ["ledger", f"{n:06}"] for n in range(1, 18)
    ]
    assert lines[17].startswith("ledger done lines=17")
    writes = [entry for entry in entries if entry["kind"] == "block_write"]
    assert [(w["device"], w["offset"], w["length"]) for w in writes] == [
        ("disk", 512 * n, 512) for n in range(17)
    ]
    (read,) = (entry for entry in entries if entry["kind"] == "block_read")
    at, end = read["offset"], read["offset"] + read["length"]
    assert disk.read_bytes()[at:end].hex() == read["value"]
    row = vlockstep("log", "show", ledger_log, "--replay", "--kind", "block_write", "--count", 1)
    assert row.out.splitlines()[-1].endswith("  device disk  offset 0  length 512")


def test_show_a_local_disk(vlockstep: Command, tmp_path: Path, disk: Path) -> None:
    """Its reads are digests, too; the disk as it was must be given."""
    log, copy = tmp_path / "local.vlog", tmp_path / "copy.img"
    copy.write_bytes(disk.read_bytes())
    arguments = ["--mem", 16, "--block", f"disk={disk},local", "--", "--lines=17", "--pause=0"]
    assert vlockstep("record", "ledger", "-o", log, *arguments).status == 0
    only = ["--kind", "block_read", "--json"]
    entry = json.loads(vlockstep("log", "show", log, *only).out.splitlines()[1])
    assert entry["detail"] == f"block read digest {entry['value']}"
    assert "length" not in entry
    assert "give the disk as it was" in vlockstep("log", "show", log, "--replay").err
    told = vlockstep("log", "show", log, *only, "--replay", "--block", f"disk={copy},local")
    assert json.loads(told.out.splitlines()[1])["length"] == 512


def test_show_what_cannot_be_replayed(vlockstep: Command, hello_log: Path) -> None:
    """As far as it proves right."""
    first, (kind, *at, value, checkpoint), last = LogReader(hello_log).entries()
    assert isinstance(value, bytes)
    rewrite(hello_log, [first, (kind, at[0], at[1], value[::-1], checkpoint), last])
    result = vlockstep("log", "show", hello_log, "--replay", "--json")
    assert (result.status, len(result.out.splitlines())) == (1, 2)
    assert "divergence at entry 1" in result.err
    rewrite(hello_log, [first])
    result = vlockstep("log", "show", hello_log, "--replay", "--json")
    assert (result.status, len(result.out.splitlines())) == (0, 2)
    refused = vlockstep("log", "show", hello_log, "--image", "hello")
    assert refused.status == 2
    assert "--image and --block are for --replay" in refused.err


def test_show_what_is_whole_of_a_replay(vlockstep: Command, tmp_path: Path) -> None:
    """Of a log that ends where the guest had an interrupt, too."""
    log = tmp_path / "preempt.vlog"
    vlockstep("record", "preempt", "-o", log, "--mem", 16, "--", "--work=30000", "--period=50000")
    entries = list(LogReader(log).entries())
    last = max(i for i, entry in enumerate(entries) if entry[0] == Kind.INTERRUPT)
    rewrite(log, entries[: last + 1])
    for more in ([], ["--replay"]):
        shown = vlockstep("log", "show", log, "--json", *more)
        assert (shown.status, len(shown.out.splitlines())) == (0, 1 + last + 1)


@pytest.mark.parametrize("apart", some([7], 1))
def test_cut_off_anywhere(vlockstep: Command, short_log: Path, apart: int) -> None:
    """Of every length, what is whole is shown."""
    data, offsets = short_log.read_bytes(), batch_offsets(short_log)
    ends = {offset + beside for offset in offsets[:-1] for beside in (-1, 0, 1)}
    for length in sorted({*range(0, len(data), apart), *ends, len(data) - 1}):
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


def test_a_replay_where_results_are_others_says_so(vlockstep: Command, hello_log: Path) -> None:
    """It goes on all the same, and would find out."""
    reader = LogReader(hello_log)
    assert reader.basis == basis()
    entries = list(reader.entries())
    for command in (("replay",), ("log", "show", "--replay")):
        other = hello_log.with_name(f"{command[0]}.vlog")
        unlike = basis() | {"architecture": "pdp11"}
        with LogWriter(other, reader.config, basis=unlike) as log:
            log.extend(entries)
        result = vlockstep(*command, other)
        assert result.status == 0
        text = f"vlockstep: {other} may diverge here: the recorder runs on pdp11, this"
        assert result.err.startswith(text), result.err


def test_a_replay_of_what_an_earlier_version_recorded_says_so(vlockstep: Command) -> None:
    """It goes on all the same, and says so once."""
    version_2 = Path(__file__).parents[1] / "replay" / "version2"
    log = version_2 / "preempt.vlog"
    result = vlockstep("replay", log, "--image", version_2 / "preempt.hvt")
    assert result.status == 0
    assert result.err.count(f"vlockstep: {log} may diverge here: this log, of version 2,") == 1
    assert "replay it with the vlockstep that recorded it" in result.err


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
        (
            {"version": 4, "config": {}},
            1,
            "is of log version 4; this vlockstep reads versions 1 to 3",
        ),
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


def test_show_tells_the_version_of_the_log_and_the_nic(vlockstep: Command, tmp_path: Path) -> None:
    old, new = VERSION_1 / "nics.vlog", tmp_path / "new.vlog"
    entries = list(LogReader(old).entries())
    new.write_bytes(old.read_bytes())
    rewrite(new, [e if e[0] != Kind.NET_READ else (*e[:3], (2, b"frame"), b"") for e in entries])
    for log, version, handle, text in (
        (old, 1, None, "60 bytes"),
        (new, VERSION, 2, "handle 2, 5 bytes"),
    ):
        head, *rows = map(json.loads, vlockstep("log", "show", log, "--json").out.splitlines())
        assert head["version"] == version
        assert [row["handle"] for row in rows if row["kind"] == "net_read"] == [handle] * 3
        assert all("handle" not in row for row in rows if row["kind"] != "net_read")
        shown = vlockstep("log", "show", log).out
        assert f"{log}, version {version}, " in shown
        assert f"net read     {text} " in shown
    assert [row["value"] for row in rows if row["kind"] == "net_read"] == [b"frame".hex()] * 3


def test_a_replay_tells_the_nic_by_its_name(vlockstep: Command, tmp_path: Path) -> None:
    log = tmp_path / "nics.vlog"
    log.write_bytes((VERSION_1 / "nics.vlog").read_bytes())
    handles = iter((1, 2, 1))
    entries = list(LogReader(log).entries())
    rewrite(
        log,
        [e if e[0] != Kind.NET_READ else (*e[:3], (next(handles), e[3][1]), e[4]) for e in entries],
    )
    only = ["--kind", "net_read", "--replay", "--image", VERSION_1 / "nics.hvt"]
    _, *rows = map(json.loads, vlockstep("log", "show", log, "--json", *only).out.splitlines())
    told = [(row["handle"], row["device"], row.get("length")) for row in rows]
    assert told == [(1, "red", 60), (2, "blue", 60), (1, "red", None)]
    lines = vlockstep("log", "show", log, *only).out.splitlines()[-3:]
    assert [line.partition("  device ")[2] for line in lines] == [
        "red  length 60", "blue  length 60", "red",
    ]  # fmt: skip
    assert not any("handle" in line for line in lines)
