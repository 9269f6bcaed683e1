"""A guest that makes Unicorn crash is ended on both replicas, and by the same words."""

from __future__ import annotations

import struct
from pathlib import Path

from pair_checks import said
from support import DATA, HALT, TEXT, crash, hypercall, make_image

from vlockstep.testing.plugin import MakePair


def crashing(tmp_path: Path) -> Path:
    """An image that prints a line, and crashes Unicorn."""
    text = DATA + 0x100
    data = {DATA: struct.pack("<QQ", text, 6), text: b"hello\n", HALT: struct.pack("<Qi", 0, 0)}
    first = hypercall(2, DATA) + b"\xeb\x00"
    path = tmp_path / "crashing.hvt"
    path.write_bytes(make_image(first + crash(TEXT + len(first)), data).content)
    return path


def test_neither_replica_crashes_with_its_guest(make_pair: MakePair, tmp_path: Path) -> None:
    pair = make_pair(crashing(tmp_path))
    assert pair.wait_finished() == (1, 1)
    assert pair.transcript == b"hello\n"
    for which in ("primary", "secondary"):
        assert said(pair, which, r"guest error: the CPU engine crashed \(SIGABRT\) at exits:1")
        assert said(pair, which, "lcall 0x2b, 0")
        assert not pair.process(which).count("live")
