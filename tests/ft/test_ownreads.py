"""What a guest reads from disks of its replica's own, put into the log of its last minutes."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from support import config_for, sample
from test_keptlog import StandingStill

from vlockstep.ft.keptlog import KeptLog
from vlockstep.ft.ownreads import OwnReads
from vlockstep.host.background import BackgroundThread
from vlockstep.protocol.journal import Batch
from vlockstep.replay import codec
from vlockstep.replay.entry import Entry, Kind, output_digest
from vlockstep.replay.logfile import LogReader

DATA = [bytes([number]) * 512 for number in range(10)]
READS: list[Entry] = [
    (Kind.BLOCK_READ, number, 0, output_digest(data), b"") for number, data in enumerate(DATA)
]
TIMES: list[Entry] = [(Kind.CYCLES, number, 0, 1000 * number, b"") for number in range(10)]
LATER = 10**12


def batch(first: int, entries: list[Entry]) -> Batch:
    return Batch(first, first + len(entries), 1, codec.encode(first, entries))


def entries(path: Path) -> list[Entry]:
    with closing(LogReader(path)) as log:
        return [*log.entries()]


def whole(number: int) -> Entry:
    return (Kind.BLOCK_READ, number, 0, DATA[number], b"")


def test_an_entry_is_kept_when_the_guest_has_executed_it(tmp_path: Path) -> None:
    """In the end, too, the others up to the first read, of which nobody knows what it would be."""
    path, executed, told = tmp_path / "a.vlog", 0, list[str]()
    reads = OwnReads(lambda: executed, 1 << 20)
    background = BackgroundThread("log")
    log = KeptLog(path, config_for(sample("hello")), background, told.append, last=0, reads=reads)

    log.keep(0, [batch(0, READS[:4])])
    for number in range(2):
        reads.note(number, DATA[number])
    executed = 2
    log.keep(LATER, [])
    background.drain(10)
    assert entries(path) == [], "no part of a batch"
    for number in range(2, 4):
        reads.note(number, DATA[number])
    executed = 4
    reads.note(4, DATA[9])  # begun, and made by nobody: another entry comes
    log.keep(2 * LATER, [batch(4, [TIMES[4], READS[5]]), batch(6, [*TIMES[6:8], READS[8]])])
    background.drain(10)
    assert entries(path) == [whole(number) for number in range(4)]
    reads.note(5, DATA[5])
    executed = 7
    log.close()
    expected = [*(whole(number) for number in range(4)), TIMES[4], whole(5), *TIMES[6:8]]
    assert entries(path) == expected and reads.waiting == 0 and not told


def test_a_guest_that_reads_too_much_costs_its_log(tmp_path: Path) -> None:
    path, told = tmp_path / "a.vlog", list[str]()
    reads = OwnReads(lambda: 0, 2000)
    config = config_for(sample("hello"))
    log = KeptLog(path, config, StandingStill(), told.append, last=0, reads=reads)
    for number in range(10):
        reads.note(number, DATA[number])
        assert reads.waiting <= 2000
    assert not told
    log.keep(0, [])
    assert told == [f"{path} takes less than the guest gives; the log file ends here"] and log.lost


def test_who_wants_none_any_more_keeps_none(tmp_path: Path) -> None:
    """Such as a log that cannot be written."""
    reads, told = OwnReads(lambda: None, 1 << 20), list[str]()
    background = BackgroundThread("log")
    nowhere = tmp_path / "none" / "a.vlog"
    config = config_for(sample("hello"))
    log = KeptLog(nowhere, config, background, told.append, last=0, reads=reads)
    reads.note(0, DATA[0])
    log.keep(LATER, [batch(0, READS[:1])])
    assert background.drain(10) and log.lost and told
    reads.note(1, DATA[1])
    assert reads.put_in(batch(0, READS[:2])) == [batch(0, READS[:2])]
    log.close()
