"""Guests of replicas are looked at while they make no entries."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest
from commands import run_command
from support import DATA, halt, hypercall, make_image, needs_kvm

from vlockstep.testing.plugin import MakePair

KEPT = ["--on-error", "record"]
ON_KVM = ["--engine", "kvm"]
HOUR = 3600 * 10**9
WALLTIME, SLEEP, TIMER = DATA + 0x100, DATA + 0x200, DATA + 0x300
COMPUTE = b"\x48\xff\xc0\xeb\xfb"
"""inc rax; jmp there"""
GUESTS = {
    "sleeps": hypercall(3, SLEEP) + halt(),
    "computes": COMPUTE,
    "counts": hypercall(0x40, TIMER) + COMPUTE,
    "halts": hypercall(0x40, TIMER) + b"\xfb\xf4" + halt(),
}
"""The last ones have a timer, with which a guest can be stopped anywhere."""


def image(code: bytes) -> bytes:
    """It reads the clock twice before that."""
    data = {SLEEP: struct.pack("<QQQ", HOUR, 0, 0), TIMER: struct.pack("<QII", HOUR, 0x20, 0)}
    return make_image(2 * hypercall(1, WALLTIME) + code, data).content


@pytest.mark.external("gdb")
@pytest.mark.parametrize(
    ("name", "options", "where"),
    [
        ("sleeps", [], b"\xef"),  # out dx, eax
        ("counts", [], b""),
        ("halts", [], b"\xba"),
        ("sleeps", KEPT, b"\xef"),
        ("computes", KEPT, b"\xef"),
        pytest.param("computes", ON_KVM, b"", marks=needs_kvm),
    ],
)
def test_who_makes_no_entries_is_looked_at(
    name: str,
    options: list[str],
    where: bytes,
    make_pair: MakePair,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In what it waits for, or computes; or at its last entry, if all is known from there on."""
    path = tmp_path / f"{name}.hvt"
    path.write_bytes(image(GUESTS[name]))
    engine = options if options == ON_KVM else []
    pair = make_pair(str(path), primary_options=engine, secondary_options=options, start=False)
    monkeypatch.chdir(pair.directory)
    pair.start()
    exits = {"counts": 3, "halts": 4}.get(name, 2)
    pair.process("secondary").wait_status(lambda status: status["exits"] >= exits)
    batch = pair.directory / "batch"
    there_and_back = "stepi\nreverse-stepi" if options == ON_KVM else "reverse-stepi\nstepi"
    batch.write_text(f"when\nx/1xb $rip\nprint $rax\n{there_and_back}\nwhen\n")
    words = ["debug", "--run-dir", pair.directory / "run", "--batch", batch, "--live"]
    done = run_command(*words, "secondary")
    assert done.returncode == 0, done
    marks = re.findall(r"^(exits:\S+), before entry (\d+)", done.stdout, re.M)
    assert len(marks) == 2 and len({*marks}) == 1, done
    assert int(marks[0][1]) == (1 if name == "computes" and options == KEPT else 2)
    assert not where or f"0x{where.hex()}" in done.stdout, done
    if name == "computes":
        assert "from here on the guest computes" in done.stderr
    if name == "counts" or options == ON_KVM:
        (rax,) = re.findall(r"= (\d+)$", done.stdout, re.M)
        assert int(rax) > 1000, "it is looked at in the midst"
    run_command("stop", "primary", "--run-dir", pair.directory / "run")


@pytest.mark.long
def test_who_computes_and_keeps_nothing_is_told_of(make_pair: MakePair, tmp_path: Path) -> None:
    """It cannot be stopped anywhere. Its replicas go on."""
    path = tmp_path / "computes.hvt"
    path.write_bytes(image(COMPUTE))
    pair = make_pair(str(path))
    pair.process("secondary").wait_status(lambda status: status["exits"] >= 2)
    words = ["debug", "--run-dir", pair.directory / "run", "--port", "0", "--live"]
    for _ in range(2):
        done = run_command(*words, "secondary")
        assert done.returncode == 1 and "computes without asking for anything" in done.stderr, done
        assert "start it with --on-error record" not in done.stderr
        assert "10 s there was no place to look at the guest" in done.stderr
    assert pair.process("secondary").status["state"] == "following"
    run_command("stop", "primary", "--run-dir", pair.directory / "run")
