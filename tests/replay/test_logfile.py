"""Log files: what was written is read, and every damage is found and said where."""

from __future__ import annotations

import resource
import struct
from pathlib import Path

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import config_for, disk_config, sample

from vlockstep.errors import HostError, LogError, VlockstepError
from vlockstep.machine.config import GuestConfig
from vlockstep.machine.position import Position
from vlockstep.replay.entry import Entry
from vlockstep.replay.frames import frame
from vlockstep.replay.keyframe import Keyframe
from vlockstep.replay.logfile import MAGIC, VERSION, LogReader, LogWriter
from vlockstep.replay.recorder import Cadence

CONFIG = config_for(sample("abi"), "--timer=1", blocks=disk_config(4096, True, "ab"))
ENTRIES: list[Entry] = [
    (0, 0, 0, 1 << 60, b"checkpoint"),
    (5, 1, 0, b"digest00", b""),
    (8, 2, 77, 0x20, b""),
    (3, 2, 0, (1, None), b""),
    (3, 2, 0, (2, bytes(9)), b""),
    (4, 3, 0, bytes(20), b""),
]


def write(path: Path, flush_every: int = 2) -> bytes:
    with LogWriter(path, CONFIG) as writer:
        for i, entry in enumerate(ENTRIES, 1):
            writer.append(entry)
            if i % flush_every == 0:
                writer.flush()
    return path.read_bytes()


def read(path: Path) -> tuple[list[Entry], int | None]:
    reader = LogReader(path)
    try:
        return list(reader.entries()), reader.truncated
    finally:
        reader.close()


def boundaries(content: bytes) -> list[int]:
    """Offsets at which the header's frame and each batch's frame begin, and the end."""
    offsets = [len(MAGIC)]
    while offsets[-1] < len(content):
        (length,) = struct.unpack_from("<I", content, offsets[-1])
        offsets.append(offsets[-1] + 12 + length)
    return offsets


def test_a_log_reads_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "a.vlog"
    write(path)
    reader = LogReader(path)
    assert reader.config == CONFIG
    assert [(first, len(batch)) for first, batch in reader.batches()] == [(0, 2), (2, 2), (4, 2)]
    assert reader.truncated is None
    assert read(path) == (ENTRIES, None)


def test_batches_end_by_number_and_by_size(tmp_path: Path) -> None:
    path = tmp_path / "a.vlog"
    with LogWriter(path, CONFIG) as writer:
        writer.extend([(0, i, 0, i, b"") for i in range(5000)])
        writer.extend([(4, 5000 + i, 0, bytes(1 << 17), b"") for i in range(4)])
        writer.extend([(3, 6000 + i, 0, (1, bytes(1 << 17)), b"") for i in range(4)])
    reader = LogReader(path)
    sizes = [len(batch) for _, batch in reader.batches()]
    assert sum(sizes) == 5008 and max(sizes) <= 2048 and sizes[-3:] == [2, 2, 2]


def test_a_log_of_nothing_is_a_log(tmp_path: Path) -> None:
    path = tmp_path / "a.vlog"
    with LogWriter(path, CONFIG):
        pass
    assert read(path) == ([], None)


def test_a_log_cut_anywhere_gives_its_whole_batches_and_says_where_it_ends(tmp_path: Path) -> None:
    content = write(tmp_path / "whole.vlog")
    path = tmp_path / "cut.vlog"
    _, *batches = boundaries(content)
    for length in range(len(content)):
        path.write_bytes(content[:length])
        if length < batches[0]:
            with pytest.raises(LogError, match=r"cut\.vlog"):
                LogReader(path)
            continue
        entries, truncated = read(path)
        complete = [b for b in batches if b <= length]
        assert entries == ENTRIES[: 2 * (len(complete) - 1)]
        assert truncated == (None if length in batches else complete[-1])


def test_every_flipped_bit_is_found_and_its_offset_named(tmp_path: Path) -> None:
    content = write(tmp_path / "whole.vlog")
    path = tmp_path / "flipped.vlog"
    for offset in range(len(content)):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[offset] ^= 1 << bit
            path.write_bytes(damaged)
            with pytest.raises(LogError, match=r"flipped\.vlog") as error:
                read(path)
            if offset >= len(MAGIC):
                start = max(b for b in boundaries(content) if b <= offset)
                named = {str(start), str(start + 12)}
                assert named & set(str(error.value).replace(",", " ").split()), error.value


@settings(max_examples=200)
@given(st.integers(0, 1 << 20), st.binary(min_size=1, max_size=8))
def test_other_damage_is_found_too(at: int, change: bytes) -> None:
    content = CONTENT[: at % len(CONTENT)] + change + CONTENT[at % len(CONTENT) + len(change) :]
    if content == CONTENT:
        return
    SCRATCH.write_bytes(content)
    try:
        entries, _ = read(SCRATCH)
    except LogError:
        return
    assert entries == ENTRIES[: len(entries)]


@pytest.fixture(scope="module", autouse=True)
def _scratch(tmp_path_factory: pytest.TempPathFactory) -> None:
    global CONTENT, SCRATCH
    SCRATCH = tmp_path_factory.mktemp("damage") / "a.vlog"
    CONTENT = write(SCRATCH)


CONTENT, SCRATCH = b"", Path()


def test_other_files_are_no_logs(tmp_path: Path) -> None:
    path = tmp_path / "a.vlog"
    for content in (b"", b"VLOCK", b"\x7fELF" + bytes(60), MAGIC[:-1] + b"H"):
        path.write_bytes(content)
        with pytest.raises(LogError, match="is not a vlockstep log"):
            LogReader(path)
    with pytest.raises(LogError, match="cannot read the log"):
        LogReader(tmp_path / "none.vlog")


def test_other_versions_are_refused_by_number(tmp_path: Path) -> None:
    path = tmp_path / "a.vlog"
    for version in (0, VERSION + 1, -1):
        header = {"version": version, "config": CONFIG.to_dict()}
        path.write_bytes(MAGIC + frame(msgpack.packb(header)))
        with pytest.raises(LogError, match=f"log version {version}; this vlockstep reads versions"):
            LogReader(path)


GOOD = CONFIG.to_dict()
BAD_HEADERS = {
    "no map": [],
    "number": 5,
    "no version": {"config": GOOD},
    "no config": {"version": 1},
    "config of other type": {"version": 1, "config": [1, 2]},
    **{f"no {k}": {"version": 1, "config": {n: GOOD[n] for n in GOOD if n != k}} for k in GOOD},
    "blocks as list": {"version": 1, "config": GOOD | {"blocks": []}},
    "block without capacity": {"version": 1, "config": GOOD | {"blocks": {"a": {}}}},
    "block with more": {"version": 1, "config": GOOD | {"blocks": {"a": {"capacity": 1, "x": 2}}}},
    "block of no size": {
        "version": 1, "config": GOOD | {"blocks": {"a": {"capacity": 1, "block_size": 1000}}}
    },
    "net without MAC": {"version": 1, "config": GOOD | {"nets": {"a": {"mtu": 1500}}}},
    "memory as text": {"version": 1, "config": GOOD | {"memory": "much"}},
    "basis as list": {"version": 3, "config": GOOD, "basis": ["x86_64"]},
    "basis of numbers": {"version": 3, "config": GOOD, "basis": {"results": 5}},
    "basis with bytes": {"version": 3, "config": GOOD, "basis": {b"results": "5"}},
    "basis of much": {"version": 3, "config": GOOD, "basis": {"results": "5" * 1000}},
    "basis of many": {"version": 3, "config": GOOD, "basis": {str(n): "" for n in range(1000)}},
}  # fmt: skip


@pytest.mark.parametrize("what", BAD_HEADERS)
def test_headers_that_are_none_are_log_errors(tmp_path: Path, what: str) -> None:
    path = tmp_path / "a.vlog"
    path.write_bytes(MAGIC + frame(msgpack.packb(BAD_HEADERS[what])))
    with pytest.raises(LogError):
        LogReader(path)


def test_header_with_an_impossible_guest_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.vlog"
    for change in ({"memory": 3}, {"arguments": ["x" * 9000]}):
        path.write_bytes(MAGIC + frame(msgpack.packb({"version": 1, "config": GOOD | change})))
        with pytest.raises(VlockstepError):
            LogReader(path)


def test_a_batch_out_of_turn_is_refused_with_its_offset(tmp_path: Path) -> None:
    content = write(tmp_path / "a.vlog")
    header, first, second, third, end = boundaries(content)
    path = tmp_path / "b.vlog"
    for order in (
        content[:first] + content[second:],
        content[:second] + content[first:],
        content[:second] + content[third:],
    ):
        path.write_bytes(order)
        with pytest.raises(
            LogError, match=rf"offset ({first}|{second}): entry \d where \d should be"
        ):
            read(path)
    assert end == len(content) and header == 8


def test_a_valid_frame_with_a_wrong_batch_names_its_offset(tmp_path: Path) -> None:
    content = write(tmp_path / "a.vlog")
    path = tmp_path / "b.vlog"
    path.write_bytes(content + frame(b"nonsense"))
    with pytest.raises(LogError, match=f"offset {len(content)}: malformed batch"):
        read(path)


def test_a_log_that_cannot_be_written_is_a_host_error(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="cannot write the log"):
        LogWriter(tmp_path / "none" / "a.vlog", CONFIG)


@given(
    st.builds(
        GuestConfig,
        st.text(max_size=4),
        st.integers(1, 2048).map(lambda n: n << 21),
        st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8"))).map(tuple),
        st.just("phenom"),
    )
)
def test_configurations_survive_the_header(config: GuestConfig) -> None:
    packed = msgpack.packb(config.to_dict())
    assert GuestConfig.from_dict(msgpack.unpackb(packed)) == config


def test_where_the_image_lies(tmp_path: Path) -> None:
    path = tmp_path / "a.vlog"
    for image in (None, Path("/images/a.hvt")):
        LogWriter(path, CONFIG, image).close()
        assert LogReader(path).image == image


@pytest.mark.parametrize("image", [1, "text", ["a"], b"a\0b"])
def test_an_image_that_is_no_path(tmp_path: Path, image: object) -> None:
    path = tmp_path / "a.vlog"
    header = {"version": VERSION, "config": CONFIG.to_dict(), "image": image}
    path.write_bytes(MAGIC + frame(msgpack.packb(header)))
    with pytest.raises(LogError, match=r"malformed header .an image that is no path"):
        LogReader(path)


def keyframe(sequence: int, machine: bytes = b"state") -> Keyframe:
    return Keyframe(sequence, Position(7, sequence), machine, (1, 1 << 60), 99, Cadence(3, 2, 1))


def test_keyframes_are_read_where_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "a.vlog"
    with LogWriter(path, CONFIG) as writer:
        writer.keyframe(keyframe(0))
        writer.extend(ENTRIES[:3])
        writer.keyframe(keyframe(3))
        writer.keyframe(keyframe(3, bytes(70_000)))
        writer.extend(ENTRIES[3:])
        writer.keyframe(keyframe(len(ENTRIES)))
    reader = LogReader(path)
    assert list(reader.frames()) == [
        keyframe(0),
        (0, ENTRIES[:3]),
        keyframe(3),
        keyframe(3, bytes(70_000)),
        (3, ENTRIES[3:]),
        keyframe(len(ENTRIES)),
    ]
    reader.close()
    assert read(path) == (ENTRIES, None)
    assert LogReader(path).version == VERSION


def test_a_log_without_keyframes_is_as_it_was_before_there_were_any(tmp_path: Path) -> None:
    content = write(tmp_path / "a.vlog")
    starts = boundaries(content)
    assert all(content[start + 12] & 0xF0 == 0x90 for start in starts[1:-1])  # an array


def test_notes_of_a_later_version_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.vlog"
    content = write(path)
    first, second = boundaries(content)[1:3]
    note = frame(msgpack.packb({"kind": "weather", **{f"of {n}": n for n in range(20)}}))
    path.write_bytes(content[:second] + note + content[second:] + note)
    assert read(path) == (ENTRIES, None)
    path.write_bytes(content[:first] + note[:-1])
    assert read(path) == ([], first)


@pytest.mark.parametrize(
    "change",
    [
        {"sequence": 1},
        {"sequence": -1},
        {"sequence": None},
        {"position": (1,)},
        {"position": 5},
        {"machine": "text"},
        {"clock": (1, -1)},
        {"console": True},
        {"cadence": (1, 2, 3, 4)},
        {"kind": None, "machine": None},
    ],
    ids=str,
)
def test_a_keyframe_that_is_none_is_refused_with_its_offset(
    tmp_path: Path, change: dict[str, object]
) -> None:
    path = tmp_path / "a.vlog"
    content = write(path)
    offset = boundaries(content)[1]
    fields = msgpack.unpackb(keyframe(0).pack()) | change
    if fields["kind"] is None:
        del fields["kind"]
    path.write_bytes(content[:offset] + frame(msgpack.packb(fields)) + content[offset:])
    with pytest.raises(LogError, match=rf"at offset {offset}: "):
        read(path)


def test_a_batch_for_which_there_is_no_room_leaves_a_whole_log(tmp_path: Path) -> None:
    """Also if there is room again, when it is too late."""
    path = tmp_path / "a.vlog"
    writer = LogWriter(path, CONFIG)
    writer.extend(ENTRIES[:2])
    writer.flush()
    whole = writer.written
    writer.extend(ENTRIES[2:])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (whole + 20, hard))
    try:
        with pytest.raises(HostError, match=f"cannot write the log {path}: File too large"):
            writer.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    writer.append(ENTRIES[2])
    with pytest.raises(HostError, match="File too large"):
        writer.close()
    assert writer.written == path.stat().st_size == whole
    assert read(path) == (ENTRIES[:2], None)
