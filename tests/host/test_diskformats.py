"""What headers say, and that no disk makes a program open what it names."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlockstep.errors import HostError, UsageError
from vlockstep.host.diskformats import (
    FORMATS,
    QCOW2,
    RAW,
    VHD,
    VHDX,
    VMDK,
    check_header,
    format_called,
    format_of_name,
    recognise,
)

SIZE = 64 << 10


def qcow2(backing: bytes = b"", features: int = 0, version: int = 3) -> bytes:
    at = 512 if backing else 0
    head = struct.pack(">4sIQI", b"QFI\xfb", version, at, len(backing)).ljust(72, b"\0")
    return (head + struct.pack(">Q", features)).ljust(512, b"\0") + backing.ljust(512, b"\0")


def footer(kind: int) -> bytes:
    return (b"conectix".ljust(60, b"\0") + struct.pack(">I", kind)).ljust(512, b"\0")


def descriptor(*lines: str, parent: str = "ffffffff") -> bytes:
    head = f"# Disk DescriptorFile\n\nversion=1\nCID=12345678\nparentCID={parent}\n"
    return (head + "\n".join(lines) + '\nddb.adapterType = "a/b:c"\n').encode()


def sparse(text: bytes, capacity: int = 100) -> bytes:
    head = struct.pack("<4sIIQQQQ", b"KDMV", 1, 3, capacity, 128, 1, 20)
    return head.ljust(512, b"\0") + text.ljust(20 * 512, b"\0")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", RAW),
        (bytes(SIZE), RAW),
        (b"QFI\xfc".ljust(SIZE, b"\0"), RAW),
        (b"# a script\nversion=12\n", RAW),
        (qcow2(), QCOW2),
        (b"vhdxfile".ljust(SIZE, b"\0"), VHDX),
        (sparse(b""), VMDK),
        (b"COWD".ljust(SIZE, b"\0"), VMDK),
        (descriptor(), VMDK),
        (b"#\r\n \r\nversion=3\r\n", VMDK),
        (footer(3) + bytes(SIZE), VHD),
        (bytes(SIZE) + footer(2), VHD),
        (bytes(SIZE) + footer(2)[:-1], RAW),
    ],
)
def test_what_a_disk_is(tmp_path: Path, content: bytes, found: object) -> None:
    path = tmp_path / "disk"
    path.write_bytes(content)
    assert recognise(path) is found


def test_names_of_formats() -> None:
    assert {format_called(name) for name in (*FORMATS, "vpc")} == {*FORMATS.values()}
    with pytest.raises(UsageError, match="'vdi' is no format of disks; there are raw, qcow2, vmdk"):
        format_called("vdi")
    assert [format_of_name(Path(f"a.{end}")) for end in ("IMG", "vhd", "x")] == [RAW, VHD, None]


FLAT = 'RW 4 FLAT "flat.vmdk" 0'
REFUSED = [
    (QCOW2, qcow2(b"/etc/passwd"), "is a delta on '/etc/passwd'"),
    (QCOW2, qcow2(b"json:{}", version=2), "is a delta on 'json:{}'"),
    (QCOW2, qcow2(features=4), "has its data in another file"),
    (QCOW2, qcow2()[:71], "is cut off: it ends within its header"),
    (QCOW2, bytes(SIZE), "is not qcow2"),
    (VHD, bytes(SIZE) + footer(4), "is a delta"),
    (VMDK, descriptor(FLAT, parent="12345678"), "is a delta"),
    (VMDK, descriptor('parentFileNameHint="/etc/passwd"'), "is a delta"),
    (VMDK, sparse(descriptor(parent="12345678")), "is a delta"),
    (VMDK, descriptor('RW 4 FLAT "/etc/passwd" 0'), 'has its data in RW 4 FLAT "/etc/passwd" 0'),
    (VMDK, descriptor('RW 4 FLAT "nbd:unix" 0'), "has its data in "),
    (VMDK, descriptor('RW 4 SPARSE "..\\x" 0'), "has its data in "),
    (VMDK, descriptor("RW\n4\nFLAT", '"/etc/passwd" 0'), "has its data in "),
    (VMDK, descriptor('RW 4 FLAT"x" "/etc/passwd"'), "has its data in "),
    (VMDK, sparse(descriptor('RW 4 FLAT "/etc/passwd" 0'), capacity=0), "has its data in "),
    (VMDK, descriptor('RW 4 SPARSE "nested.vmdk"'), "has its data in "),
    (VMDK, descriptor('RW 5 FLAT "flat.vmdk" 0'), "has 2048 bytes in place of 2560"),
    (VMDK, descriptor('RW 4 VMFS "flat.vmdk" 1'), "has 2048 bytes in place of 2560"),
]


@pytest.mark.parametrize(("kind", "content", "message"), REFUSED)
def test_what_lies_elsewhere_is_not_opened(
    tmp_path: Path, kind: object, content: bytes, message: str
) -> None:
    path = tmp_path / "disk"
    path.write_bytes(content)
    (tmp_path / "flat.vmdk").write_bytes(bytes(2048))
    hidden = descriptor('RW 4 FLAT "/etc/passwd" 0')
    (tmp_path / "nested.vmdk").write_bytes(sparse(hidden, capacity=0))
    with pytest.raises(HostError) as refused:
        check_header(path, kind)  # type: ignore[arg-type]
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (RAW, qcow2(b"/etc/passwd")),
        (QCOW2, qcow2()),
        (QCOW2, qcow2(features=4, version=2)),
        (VHD, footer(3) + bytes(SIZE) + footer(3)),
        (VHD, bytes(SIZE) + footer(2)),
        (VHDX, b"vhdxfile"),
        (VMDK, descriptor(FLAT)),
        (VMDK, descriptor('RW 4 SPARSE "disk"')),
        (VMDK, sparse(descriptor('RW 4 SPARSE "/vmfs/its/old/name.vmdk"'))),
        (VMDK, sparse(b"", capacity=0)[:40]),
    ],
)
def test_what_is_whole_passes(tmp_path: Path, kind: object, content: bytes) -> None:
    path = tmp_path / "disk"
    path.write_bytes(content)
    (tmp_path / "flat.vmdk").write_bytes(bytes(2048))
    check_header(path, kind)  # type: ignore[arg-type]


_SEEDS = [content for _, content, _ in REFUSED]


@given(st.sampled_from(_SEEDS), st.lists(st.tuples(st.integers(0, 1100), st.binary(max_size=9))))
def test_any_content_passes_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, seed: bytes, changes: list[tuple[int, bytes]]
) -> None:
    content = bytearray(seed)
    for at, data in changes:
        content[at : at + len(data)] = data
    path = tmp_path_factory.getbasetemp() / "disk"
    path.write_bytes(content)
    for kind in (recognise(path), *FORMATS.values()):
        try:
            check_header(path, kind)
        except HostError as error:
            assert str(path) in str(error) or "is cut off" in str(error)
