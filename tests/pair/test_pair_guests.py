"""Whatever a guest does, both replicas and every replay of their logs end in the same state."""

from __future__ import annotations

import shutil
import struct
from contextlib import closing
from pathlib import Path

import pytest
from pair_checks import KILLED, SHORT, check_equal, check_log, said
from support import DATA, HALT, halt, hypercall, make_image

from vlockstep.replay.entry import Entry, Kind
from vlockstep.replay.logfile import LogReader
from vlockstep.testing import Pair, check_ledger, replay
from vlockstep.testing.plugin import MakePair

GUESTS = [
    ("hello", ["one", "two"]),
    ("clock", ["--reads=2000", "--walltime=50", "--puts=20"]),
    ("preempt", ["--tsc=1", "--work=30000", "--period=200000"]),
    ("sort", ["--n=2000", "--rounds=1"]),
]


def entries(log: Path) -> list[Entry]:
    """When they were written is up to each replica."""
    with closing(LogReader(log)) as reader:
        return list(reader.entries())


@pytest.mark.parametrize(("guest", "arguments"), GUESTS, ids=lambda value: str(value))
def test_equal_in_the_end(make_pair: MakePair, guest: str, arguments: list[str]) -> None:
    pair = make_pair(guest, arguments)
    assert pair.wait_finished() == (0, 0)
    check_equal(pair)
    check_log(pair, "primary")
    check_log(pair, "secondary")
    assert entries(pair.log("primary")) == entries(pair.log("secondary"))


@pytest.mark.parametrize(
    ("guest", "arguments", "place"),
    [
        ("hello", [], "release:1"),
        ("clock", ["--reads=3000", "--walltime=50", "--puts=20"], "entry:1500"),
        ("preempt", ["--tsc=1", "--work=100000", "--period=200000"], "entry:300"),
        ("preempt", ["--tsc=1", "--work=100000", "--period=200000"], "sent:40"),
    ],
)
def test_crash(make_pair: MakePair, guest: str, arguments: list[str], place: str) -> None:
    """The new primary goes on from the exact instruction, with clocks and timer."""
    pair = make_pair(guest, arguments, crash_at=place)
    assert pair.wait_live() == 2
    assert pair.wait_finished() == (KILLED, 0)
    check_log(pair, "secondary")


def test_status(make_pair: MakePair) -> None:
    pair = make_pair("hello", ["--status=7"])
    assert pair.wait_finished() == (7, 7)
    assert pair.transcript == b"Hello from vlockstep\n--status=7\n"
    check_equal(pair)


def test_status_after_a_crash(make_pair: MakePair) -> None:
    pair = make_pair("hello", ["--status=7"], crash_at="release:1")
    assert pair.wait_finished() == (KILLED, 7)
    assert pair.transcript == b"Hello from vlockstep\n--status=7\n"


def test_guest_error(make_pair: MakePair) -> None:
    """It is the guest's end as any other: on both, and no reason to go live."""
    pair = make_pair("fault", ["--kind=noidt"])
    assert pair.wait_finished() == (1, 1)
    for which in ("primary", "secondary"):
        assert said(pair, which, "guest error: .* has no handler")
        assert not said(pair, which, "Traceback")
        assert all(event["event"] != "live" for event in pair.events(which))
    ends = [replay(pair.log(which)) for which in ("primary", "secondary")]
    assert ends[0] == ends[1]
    assert ends[0].status == 1


def dumping(make_pair: MakePair, tmp_path: Path, kind: str, **more: object) -> Pair:
    """Each replica of a guest that ends badly has a directory of its own for cores."""
    return make_pair(
        "fault",
        [f"--kind={kind}"],
        primary_options=["--dumpcore", tmp_path / "primary"],
        secondary_options=["--dumpcore", tmp_path / "secondary"],
        **more,
    )


@pytest.mark.parametrize(("kind", "status"), [("ud", 255), ("noidt", 1)])
def test_each_replica_writes_a_core(
    make_pair: MakePair, tmp_path: Path, kind: str, status: int
) -> None:
    """Of a guest that aborts, as of one that makes an error, and the same."""
    pair = dumping(make_pair, tmp_path, kind)
    assert pair.wait_finished() == (status, status)
    contents = []
    for which in ("primary", "secondary"):
        (core,) = (tmp_path / which).iterdir()
        told = f"core written to {core}"
        if status == 255:
            pair.process(which).wait_notice(told)
        else:
            assert said(pair, which, told)
        contents.append(core.read_bytes())
    assert contents[0] == contents[1] and contents[0].startswith(b"\x7fELF")


def test_a_core_after_a_crash(make_pair: MakePair, tmp_path: Path) -> None:
    pair = dumping(make_pair, tmp_path, "ud", crash_at="release:1")
    assert pair.wait_finished() == (KILLED, 255)
    assert len(list((tmp_path / "secondary").iterdir())) == 1


def test_a_core_that_cannot_be_written(make_pair: MakePair, tmp_path: Path) -> None:
    (tmp_path / "secondary").touch()
    pair = dumping(make_pair, tmp_path, "ud")
    assert pair.wait_finished() == (255, 255)
    assert len(list((tmp_path / "primary").iterdir())) == 1
    pair.process("secondary").wait_notice("cannot write the core file")


def test_guest_error_after_a_crash(make_pair: MakePair) -> None:
    pair = make_pair("fault", ["--kind=noidt"], stop_at=["exits:0"])
    assert pair.wait_reached("primary") == pair.wait_reached("secondary")
    pair.crash("primary")
    pair.go("secondary")
    assert pair.wait_finished() == (KILLED, 1)
    assert said(pair, "secondary", "guest error: .* has no handler")


@pytest.mark.parametrize("place", [None, "entry:50"])
def test_local_disks(make_pair: MakePair, tmp_path: Path, place: str | None) -> None:
    """Each replica writes its own copy; a survivor's is whole, and equal if both survive."""
    before = tmp_path / "before.img"
    before.write_bytes(bytes(20 << 10))
    pair = make_pair("ledger", SHORT, disks={"disk": before}, local=True, crash_at=place)
    assert pair.wait_finished() == (KILLED if place else 0, 0)
    check_ledger(pair.transcript, pair.disk(side="secondary"), 20)
    if place is None:
        assert pair.disk(side="primary") == pair.disk(side="secondary")
    copy = shutil.copy(before, tmp_path / "copy.img")
    replayed = replay(pair.log("secondary"), {"disk": Path(copy)})
    assert replayed.registers == pair.registers("secondary")
    assert Path(copy).read_bytes() == pair.disk(side="secondary")


def test_local_disks_that_differ(make_pair: MakePair) -> None:
    pair = make_pair("ledger", SHORT, local=True, start=False)
    disk = pair.directory / "secondary-disk.img"
    right = disk.read_bytes()
    disk.write_bytes(bytes(512) + b"x" * 512)
    pair.start_primary()
    pair.start_secondary()
    assert pair.process("secondary").wait_exit() == 2
    assert said(pair, "secondary", "the disk 'disk' is not the primary's")
    # The primary still waits, for one that can follow.
    disk.write_bytes(right)
    pair.start_secondary()
    assert pair.wait_finished() == (0, 0)


def random_letters(rounds: int) -> bytes:
    """An image that prints a letter for each random number, and halts."""
    buffer = DATA + 0x100
    # L: rdrand rax; rdseed ecx; add eax, ecx; and al, 15; add al, 'a'; mov [buffer], al
    code = bytes.fromhex("480fc7f0 0fc7f9 01c8 240f 0461 880425") + struct.pack("<I", buffer)
    code += hypercall(2, DATA) + bytes.fromhex("ffcb")  # puts; dec ebx
    code += b"\x0f\x85" + struct.pack("<i", -len(code) - 6)  # jnz L
    data = {DATA: struct.pack("<QQ", buffer, 1), HALT: struct.pack("<Qi", 0, 0)}
    return make_image(b"\xbb" + struct.pack("<I", rounds) + code + halt(), data).content


@pytest.mark.parametrize("place", [None, "entry:301", "sent:100"])
def test_random_numbers_are_the_same_for_both(
    make_pair: MakePair, tmp_path: Path, place: str | None
) -> None:
    """Nothing was printed of which the survivor does not have the numbers."""
    image = tmp_path / "letters.hvt"
    image.write_bytes(random_letters(200))
    pair = make_pair(image, crash_at=place, primary_options=["--cpu", "broadwell"])
    assert pair.wait_finished() == (KILLED if place else 0, 0)
    values = [
        value for kind, _, _, value, _ in entries(pair.log("secondary")) if kind == Kind.RANDOM
    ]
    pairs = zip(values[::2], values[1::2], strict=True)
    assert pair.transcript == bytes(97 + (a + b) % 16 for a, b in pairs)  # type: ignore[operator]
    assert len(pair.transcript) == 200
    check_log(pair, "secondary")
