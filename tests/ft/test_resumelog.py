"""The log from which a guest can be resumed: what counts as kept, what is given up, and how."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from backgrounds import Later
from support import config_for, needs_kvm, sample

from vlockstep.errors import HostError
from vlockstep.ft.resumedir import LogFile, ResumeDirectory, Unresumable
from vlockstep.ft.resumelog import History, ResumeLog
from vlockstep.machine.basis import basis
from vlockstep.machine.config import MIB
from vlockstep.machine.kvm import device
from vlockstep.machine.machine import Machine
from vlockstep.machine.position import Position
from vlockstep.protocol.actions import NEVER
from vlockstep.protocol.journal import Batch
from vlockstep.protocol.timing import MILLISECOND as MS
from vlockstep.protocol.timing import SECOND
from vlockstep.replay import codec
from vlockstep.replay.entry import Entry, Kind
from vlockstep.replay.keyframe import Keyframe
from vlockstep.replay.logfile import LogWriter
from vlockstep.replay.recorder import Cadence


def batch(first: int, end: int) -> Batch:
    entries: list[Entry] = [(Kind.CONSOLE, n, 0, b"12345678", b"") for n in range(first, end)]
    return Batch(first, end, 1, codec.encode(first, entries))


def keyframe(sequence: int, machine: bytes = b"", memory: int = 0) -> Keyframe:
    ram = (bytes(memory),) if memory else ()
    return Keyframe(sequence, Position(0), machine, (0, 0), 7, Cadence(), memory=ram)


class File:
    """A `ResumeFile` that notes what is done, and fails where it is to."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.fails: set[str] = set()
        self.written = 0
        self.there = True

    def _do(self, what: str) -> None:
        if what.split()[0] in self.fails:
            raise HostError(f"cannot {what}")
        self.done.append(what)

    def write(self, batches: Iterable[Batch]) -> None:
        for each in batches:
            self._do(f"write {each.first}-{each.end}")
            self.written += len(each.content)

    def note_released(self, released: int) -> None:
        self._do(f"released {released}")

    def place(self, keyframe: Keyframe) -> None:
        self._do(f"place {keyframe.sequence}")
        self.written += keyframe.size

    def renew(self, keyframe: Keyframe, since: int) -> File:
        self._do(f"renew {keyframe.sequence} since {since}")
        self.written = keyframe.size
        return self

    def sync(self) -> None:
        self._do("sync")

    def remove(self) -> None:
        self._do("remove")
        self.there = False

    def close(self) -> None:
        self._do("close")


class Kept:
    def __init__(self, limit: int = 1 << 30, there: bool = False) -> None:
        self.file = File()
        self.background = Later()
        self.settling = Later()
        self.settled = 0
        self.told: list[str] = []
        self.log = ResumeLog(
            self.file if there else lambda: self.file,
            lambda name: self.background if name == "resume" else self.settling,
            next=0,
            limit=limit,
            settle=self._settle,
            wake=lambda: None,
            tell=self.told.append,
        )

    def _settle(self) -> None:
        self.settled += 1

    def turn(self, now: int = 0, released: int = 0, outputs: bool = True) -> int | None:
        """How far it is kept after the background has done all it was given, and one more turn."""
        self.log.turn(now, released, outputs)
        self.background.drain(0)
        self.settling.drain(0)
        self.log.turn(now, released, outputs)
        return self.log.kept


def test_what_is_kept_is_synced() -> None:
    kept = Kept()
    kept.log.keep(0, [batch(0, 2), batch(2, 3)])
    kept.log.turn(0, 0, True)
    assert kept.log.kept == 0, "it is not, before the background has done that"
    assert kept.turn() == 3
    assert kept.file.done == ["write 0-2", "write 2-3", "sync"]
    assert kept.log.waiting == 0


def test_what_is_made_meanwhile_goes_with_the_next_sync() -> None:
    kept = Kept()
    kept.log.keep(0, [batch(0, 1)])
    kept.log.turn(0, 0, True)
    kept.log.keep(0, [batch(1, 2)])
    kept.log.keep(0, [batch(2, 3)])
    assert kept.turn() == 1
    assert kept.turn() == 3
    assert kept.file.done == ["write 0-1", "sync", "write 1-2", "write 2-3", "sync"]


def test_entries_without_outputs_wait_for_company() -> None:
    kept = Kept()
    kept.log.keep(5, [batch(0, 1)])
    assert kept.turn(5, outputs=False) == 0
    due = kept.log.deadline()
    assert 5 < due < SECOND
    assert kept.turn(due, outputs=False) == 1
    assert kept.log.deadline() == NEVER


def test_what_was_released_is_noted_when_it_is_there_for_good() -> None:
    kept = Kept()
    kept.log.keep(0, [batch(0, 3)])
    kept.turn()
    kept.turn(0, released=2)
    assert not kept.settled, "not each time"
    due = kept.log.deadline()
    kept.log.turn(due, 3, False)
    assert "released 3" not in kept.file.done
    kept.settling.drain(0)
    kept.turn(due, released=3)
    assert kept.settled == 1
    assert kept.file.done[-2:] == ["released 3", "sync"]


@pytest.mark.parametrize("what", ["write", "sync"])
def test_what_cannot_be_written_is_removed_before_it_is_given_up(what: str) -> None:
    kept = Kept()
    kept.log.keep(0, [batch(0, 1)])
    assert kept.turn() == 1
    kept.file.fails = {what, "remove"}
    kept.log.keep(0, [batch(1, 2)])
    assert kept.turn() == 1
    assert kept.turn(0) == 1 and not kept.told
    again = kept.log.deadline()
    assert 0 < again <= 2 * SECOND
    assert kept.turn(again) == 1, "neither written nor removed: nothing leaves"
    kept.file.fails = {what}
    again = kept.log.deadline()
    assert kept.turn(again - MS) == 1
    kept.log.turn(again, 0, True)
    assert kept.log.kept == 1 and kept.file.there
    assert kept.turn(again) is None
    assert not kept.file.there
    [text] = kept.told
    assert f"cannot {what}" in text
    assert kept.log.deadline() == NEVER


def test_one_that_would_be_too_long_is_removed() -> None:
    content = len(batch(0, 5).content)
    kept = Kept(limit=2 * content)
    kept.log.keep(0, [batch(0, 5)])
    assert kept.turn() == 5
    kept.log.keep(0, [batch(5, 10), batch(10, 15)])
    assert kept.turn() == 5
    assert kept.turn() is None and not kept.file.there
    kept.log.keep(0, [batch(15, 20)])
    assert kept.log.waiting == 0


def released_to(kept: Kept, released: int) -> None:
    """And there for good, but not noted."""
    kept.log.turn(0, released, False)
    kept.log.turn(SECOND, released, False)
    kept.settling.drain(0)


def test_a_keyframe_waits_for_what_was_released_before_it() -> None:
    kept = Kept()
    kept.log.keep(0, [batch(0, 5)])
    kept.turn()
    kept.log.place(keyframe(4), 0)
    assert kept.turn(0, released=4) == 5
    assert kept.log.placing and kept.file.done == ["write 0-5", "sync"]
    kept.log.keep(SECOND, [batch(5, 6)])
    released_to(kept, 4)
    assert kept.turn(SECOND, released=4) == 6
    assert kept.file.done[2:] == ["write 5-6", "released 4", "place 4", "sync"]
    assert not kept.log.placing and kept.log.grown == 0


def test_where_there_is_no_room_the_log_begins_anew_at_the_keyframe() -> None:
    content = len(batch(0, 5).content)
    kept = Kept(limit=3 * content)
    kept.log.keep(0, [batch(0, 5)])
    kept.turn()
    since = kept.log.written
    kept.log.keep(0, [batch(5, 10)])
    kept.turn()
    kept.log.place(keyframe(7), since)
    released_to(kept, 8)
    assert kept.turn(SECOND, released=8) == 10
    done = ["released 8", f"renew 7 since {since}", "released 8", "sync"]
    assert kept.file.done[-4:] == done
    kept.log.keep(SECOND, [batch(10, 15)])
    assert kept.turn(SECOND, released=8) == 15 and not kept.told


@pytest.mark.parametrize("what", ["place", "renew"])
def test_one_that_cannot_get_its_keyframe_is_given_up(what: str) -> None:
    kept = Kept(limit=1 << 20 if what == "place" else 3 * len(batch(0, 5).content))
    kept.log.keep(0, [batch(0, 5)])
    kept.turn()
    kept.log.keep(0, [batch(5, 8)])
    kept.turn()
    kept.log.place(keyframe(4), 0)
    kept.file.fails = {what}
    released_to(kept, 4)
    kept.log.keep(SECOND, [batch(8, 9)])
    assert kept.turn(SECOND, released=4) == 8, "what comes behind is not kept"
    assert kept.turn(SECOND, released=4) is None and not kept.file.there
    assert f"cannot {what}" in kept.told[0]


def test_one_that_was_there_is_removed_though_nothing_was_added() -> None:
    kept = Kept(there=True)
    kept.log.give_up("the guest goes on elsewhere")
    assert kept.turn() is None and not kept.file.there


def test_one_that_nobody_needs_is_removed_in_the_end() -> None:
    for remove in (False, True):
        kept = Kept()
        kept.log.keep(0, [batch(0, 1)])
        kept.turn()
        kept.log.close(remove)
        assert kept.file.there is not remove
        assert kept.file.done[-1] == ("remove" if remove else "close")


@pytest.mark.parametrize("remove", [False, True])
def test_one_that_cannot_be_closed_or_removed_in_the_end_stays(remove: bool) -> None:
    kept = Kept()
    kept.log.keep(0, [batch(0, 1)])
    kept.turn()
    kept.file.fails = {"remove", "close"}
    kept.log.close(remove)
    assert kept.file.there and not kept.background.jobs


# Files

CONFIG = config_for(sample("hello"))


def files(tmp_path: Path, instance: str) -> ResumeDirectory:
    return ResumeDirectory(tmp_path / "resume", instance, None)


def left(tmp_path: Path, *batches: Batch, released: int = 0) -> Path:
    """The log of `a`."""
    file = files(tmp_path, "a").begin(CONFIG, 7)
    file.write(batches)
    file.note_released(released)
    file.sync()
    file.close()
    return file.path


def test_who_takes_over_has_all_of_it_in_a_file_of_its_own(tmp_path: Path) -> None:
    path = left(tmp_path, batch(0, 4), batch(4, 6), released=3)
    before = path.read_bytes()
    file, history = files(tmp_path, "b").take_over("a", CONFIG)
    assert file.path.name == "b.vlog"
    assert (history.next, history.released, history.printed) == (6, 3, 7)
    assert history.outputs == (3, 4, 5) and history.ended is None
    assert [entry[1] for entry in history.entries()] == [*range(6)]
    assert path.read_bytes() == before
    file.write([batch(6, 7)])
    file.sync()
    file.close()
    _, again = files(tmp_path, "c").take_over("b", CONFIG)
    assert (again.next, again.released, again.printed) == (7, 3, 7)


def test_a_keyframe_is_written_without_a_copy_of_it(tmp_path: Path) -> None:
    """For which the guest's thread would wait."""
    with closing(Machine(sample("hello"), CONFIG)) as machine:
        state = machine.save()
    big = replace(keyframe(0, state), memory=tuple(bytes(MIB) for _ in range(32)), whole=True)
    file = files(tmp_path, "a").begin(CONFIG, 0)
    tracemalloc.start()
    file.place(big)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MIB
    file.write([batch(0, 2)])
    file.close()
    _, history = files(tmp_path, "b").take_over("a", CONFIG)
    assert history.keyframe == big


def test_what_an_owner_writes_late_reaches_nobody(tmp_path: Path) -> None:
    file = files(tmp_path, "a").begin(CONFIG, 0)
    file.write([batch(0, 2)])
    mine, history = files(tmp_path, "b").take_over("a", CONFIG)
    file.write([batch(2, 3)])
    file.remove()
    assert mine.path.exists()
    assert len([*history.entries()]) == history.next == 2


def test_of_what_is_torn_the_whole_batches_count(tmp_path: Path) -> None:
    path = left(tmp_path, batch(0, 2))
    whole = len(path.read_bytes())
    file = files(tmp_path, "x").begin(CONFIG, 0)
    file.write([batch(0, 2), batch(2, 4)])
    path = file.path
    content = path.read_bytes()
    for end in range(len(content) - 1, whole, -7):
        path.write_bytes(content[:end])
        mine, history = files(tmp_path, "b").take_over("x", CONFIG)
        assert history.next == 2
        mine.remove()


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda path: path.unlink(), "has left no log"),
        (lambda path: path.write_bytes(b""), "is not a vlockstep log"),
        (lambda path: path.write_bytes(path.read_bytes()[:-9] + bytes(9)), "damaged"),
        (
            lambda path: LogWriter(path, CONFIG, basis=basis() | {"results": "others"}).close(),
            r"cannot be followed here: x87 instructions .* at the owner before \(others\)",
        ),
    ],
)
def test_what_cannot_be_resumed(
    tmp_path: Path, spoil: Callable[[Path], object], problem: str
) -> None:
    path = left(tmp_path, batch(0, 2), released=1)
    spoil(path)
    with pytest.raises(Unresumable, match=problem):
        files(tmp_path, "b").take_over("a", CONFIG)
    assert not (tmp_path / "resume" / "b.vlog").exists()


def test_a_guest_without_entries_or_another_one_is_not_resumed(tmp_path: Path) -> None:
    left(tmp_path)
    with pytest.raises(Unresumable, match="has no entries"):
        files(tmp_path, "b").take_over("a", CONFIG)
    left(tmp_path, batch(0, 2))
    with pytest.raises(Unresumable, match="another guest"):
        files(tmp_path, "b").take_over("a", config_for(sample("hello"), "--other"))


@needs_kvm
@pytest.mark.parametrize("engine", ["auto", "unicorn", "kvm"])
def test_a_guest_stays_prepared_for_kvm_whatever_it_is_to_run_on_now(
    tmp_path: Path, engine: str
) -> None:
    prepared = replace(CONFIG, sites=())
    file = ResumeDirectory(tmp_path / "resume", "a", None, "kvm").begin(prepared, 0)
    file.write([batch(0, 2)])
    file.close()
    now = prepared if engine == "kvm" else replace(CONFIG, sites=None)
    file, history = ResumeDirectory(tmp_path / "resume", "b", None, engine).take_over("a", now)
    assert file.config == prepared
    assert history.engine == ("unicorn" if engine == "unicorn" else "kvm")


@needs_kvm
def test_a_guest_of_an_unlike_processor_is_resumed_on_unicorn_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = replace(CONFIG, sites=())
    file = ResumeDirectory(tmp_path / "resume", "a", None, "kvm").begin(prepared, 0)
    file.write([batch(0, 2)])
    file.close()
    monkeypatch.setattr(device, "_processor", lambda: {"vendor_id": "another"})
    with pytest.raises(Unresumable, match="on a processor"):
        ResumeDirectory(tmp_path / "resume", "b", None, "kvm").take_over("a", prepared)
    _, history = ResumeDirectory(tmp_path / "resume", "c", None).take_over("a", prepared)
    assert history.engine == "unicorn"


def test_a_guest_that_is_to_be_prepared_for_kvm_now_is_another_one(tmp_path: Path) -> None:
    files(tmp_path, "a").begin(replace(CONFIG, sites=None), 0).close()
    with pytest.raises(Unresumable, match="set anew"):
        ResumeDirectory(tmp_path / "resume", "b", None, "kvm").take_over(
            "a", replace(CONFIG, sites=())
        )


def test_only_what_was_there_before_is_forgotten(tmp_path: Path) -> None:
    left(tmp_path, batch(0, 2))
    mine = files(tmp_path, "b")
    mine.look()
    files(tmp_path, "c").begin(CONFIG, 0).close()
    mine.begin(CONFIG, 0).close()
    mine.forget_others()
    assert sorted(path.stem for path in (tmp_path / "resume").iterdir()) == ["b", "c"]


def state() -> bytes:
    """Of a guest that has not run."""
    with closing(Machine(sample("hello"), CONFIG)) as machine:
        return machine.save()


def entries(history: History) -> list[int]:
    return [entry[1] for entry in history.entries()]


def test_who_takes_over_goes_on_at_the_last_keyframe(tmp_path: Path) -> None:
    file = files(tmp_path, "a").begin(CONFIG, 7)
    file.write([batch(0, 4), batch(4, 8)])
    file.note_released(6)
    file.place(keyframe(2, state()))
    file.place(keyframe(6, state()))
    file.write([batch(8, 9)])
    file.close()
    for owner, mine in (("a", "b"), ("b", "c")):
        file, history = files(tmp_path, mine).take_over(owner, CONFIG)
        file.close()
        assert history.keyframe == keyframe(6, state())
        assert (history.next, history.released, history.outputs) == (9, 6, (6, 7, 8))
        assert entries(history) == [6, 7, 8]


def renewed(tmp_path: Path, machine: bytes) -> LogFile:
    file = files(tmp_path, "a").begin(CONFIG, 7)
    file.write([batch(0, 4)])
    since = file.written
    file.write([batch(4, 8), batch(8, 9)])
    file.note_released(6)
    return file.renew(keyframe(6, machine, 99), since)


def test_a_log_that_begins_anew_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    file = renewed(tmp_path, state())
    assert [path.name for path in file.path.parent.iterdir()] == ["a.vlog"]
    file.write([batch(9, 11)])
    file.close()
    for owner, mine in (("a", "b"), ("b", "c")):
        file, history = files(tmp_path, mine).take_over(owner, CONFIG)
        file.close()
        assert history.keyframe == keyframe(6, state(), 99)
        assert (history.next, history.released, history.printed) == (11, 6, 7)
        assert entries(history) == [6, 7, 8, 9, 10]


@pytest.mark.parametrize("at", ["write", "place", "take_place"])
def test_until_another_one_is_complete_the_old_one_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """Whether the other one is left or not."""

    def fail(self: LogFile, *arguments: object) -> None:
        raise HostError("no more")

    file = files(tmp_path, "a").begin(CONFIG, 7)
    since = file.written
    file.write([batch(0, 4)])
    with monkeypatch.context() as patch:
        patch.setattr(LogFile, at, fail)
        patch.setattr(LogFile, "remove", lambda self: None)
        with pytest.raises(HostError, match="no more"):
            file.renew(keyframe(2, state()), since)
        file.close()
    _, history = files(tmp_path, "b").take_over("a", CONFIG)
    assert history.keyframe is None and entries(history) == [0, 1, 2, 3]


def test_a_keyframe_that_cannot_be_restored_here(tmp_path: Path) -> None:
    """From boot on, if the log is whole."""
    file = files(tmp_path, "a").begin(CONFIG, 7)
    file.write([batch(0, 4)])
    file.note_released(2)
    file.place(keyframe(2, b"of another Unicorn"))
    file.close()
    _, history = files(tmp_path, "b").take_over("a", CONFIG)
    assert history.keyframe is None and entries(history) == [0, 1, 2, 3]


def test_a_log_that_begins_with_a_keyframe_that_cannot_be_restored_here(tmp_path: Path) -> None:
    renewed(tmp_path, b"of another Unicorn").close()
    with pytest.raises(Unresumable, match="state is malformed"):
        files(tmp_path, "b").take_over("a", CONFIG)


def test_a_torn_keyframe_is_none(tmp_path: Path) -> None:
    file = files(tmp_path, "a").begin(CONFIG, 7)
    file.write([batch(0, 4)])
    file.note_released(3)
    file.place(keyframe(2, state()))
    whole = file.written
    file.place(keyframe(3, state()))
    file.close()
    content = file.path.read_bytes()
    for end in (len(content) - 1, whole + 3):
        file.path.write_bytes(content[:end])
        mine, history = files(tmp_path, "b").take_over("a", CONFIG)
        assert history.keyframe == keyframe(2, state()) and entries(history) == [2, 3]
        mine.remove()


@pytest.mark.parametrize(
    ("released", "sequence"),
    [(1, 2), (9, 9)],
    ids=["behind what was released", "behind all entries"],
)
def test_a_keyframe_that_is_out_of_place(tmp_path: Path, released: int, sequence: int) -> None:
    file = files(tmp_path, "a").begin(CONFIG, 7)
    file.write([batch(0, 4)])
    file.note_released(released)
    file.place(keyframe(sequence, state()))
    file.close()
    with pytest.raises(Unresumable, match="keyframe"):
        files(tmp_path, "b").take_over("a", CONFIG)
