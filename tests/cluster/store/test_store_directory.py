"""The store in a directory: late and killed writers, hostile files, and what is left behind."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from random import Random

import pytest
import store_storm
from store_backends import PATIENCE
from store_storm import Told

from vlockstep.cluster.store import Conflict, DirectoryStore, Entry, Expired, StoreError
from vlockstep.cluster.store.directory import HOME
from vlockstep.cluster.store.shards import COUNT, TRAIL, Shard, Shards, shard_of
from vlockstep.cluster.store.values import Stored
from vlockstep.cluster.store.worker import Worker
from vlockstep.errors import VlockstepError

PLACE = shard_of("k")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / HOME


def opened(path: Path) -> DirectoryStore:
    return DirectoryStore(path, limit=PATIENCE)


def change(shards: Shards, text: str = "{}") -> Shard | None:
    before = shards.read(PLACE)
    version = before.baton.revision + 1
    return shards.replace(before, {"k": Stored(text, version, "")})


def contents(home: Path) -> list[str]:
    return sorted(path.name for path in home.glob("*.json"))


# Who is late


@pytest.mark.parametrize("changes", [1, 2, TRAIL - 1])
def test_however_late_a_change_comes_it_does_not_undo_others(home: Path, changes: int) -> None:
    """Although nothing is left of the versions between."""
    late, others = Shards(home), Shards(home)
    before = late.read(PLACE)
    for _ in range(changes):
        assert change(others)
    assert late.replace(before, {"k": Stored('{"late":1}', 1, "")}) is None
    now = Shards(home).read(PLACE)
    assert now.entries["k"].text == "{}"
    assert contents(home) == [now.baton.content]


def test_one_that_is_even_later_is_told_nothing(home: Path) -> None:
    """And has not done anything."""
    late, others = Shards(home), Shards(home)
    before = late.read(PLACE)
    for _ in range(TRAIL + 1):
        change(others)
    with pytest.raises(StoreError, match="too often"):
        late.replace(before, {"k": Stored('{"late":1}', 1, "")})
    assert Shards(home).read(PLACE).entries["k"].text == "{}"


@pytest.mark.parametrize("later", [0, 1, TRAIL - 1])
def test_who_was_told_that_he_was_late_but_was_not(
    home: Path, later: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a client of NFS may be, whose first try has got there and its answer not back."""
    shards, others = Shards(home), Shards(home)
    rename = Path.rename

    def answer_is_lost(old: Path, new: Path) -> None:
        rename(old, new)
        monkeypatch.undo()
        for _ in range(later):
            assert change(others)
        rename(old, new)

    before = shards.read(PLACE)
    monkeypatch.setattr(Path, "rename", answer_is_lost)
    assert shards.replace(before, {"k": Stored('{"mine":1}', 1, "")}) is not None
    now = Shards(home).read(PLACE)
    assert now.baton.revision == 1 + later
    assert contents(home) == [now.baton.content]


def test_a_rename_without_an_answer_may_have_been_made(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So what it needs is left there."""
    store = opened(tmp_path)
    store.put("k", {"n": 1}, 0)
    rename = Path.rename

    def fails(old: Path, new: Path) -> None:
        rename(old, new)
        raise TimeoutError(110, os.strerror(110))

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(StoreError, match="timed out"):
        store.put("k", {"n": 2}, None)
    monkeypatch.undo()
    entry = store.get("k")
    assert entry is not None and entry.value == {"n": 2}
    store.put("k", {"n": 3}, entry.version)
    assert len(contents(home)) == 1
    store.close()


# Many at once


def test_of_all_who_begin_together_one_makes_the_store(home: Path) -> None:
    barrier = threading.Barrier(8)

    def begin() -> Shard:
        barrier.wait(60)
        return Shards(home).read(PLACE)

    with ThreadPoolExecutor(8) as pool:
        runs = [pool.submit(begin) for _ in range(8)]
        assert len({run.result().baton for run in runs}) == 1
    assert len(list(home.iterdir())) == COUNT + 1
    assert list(home.parent.iterdir()) == [home]


def storm(tmp_path: Path, any_seed: int, processes: int, count: int, kills: int) -> None:
    chance = Random(any_seed)
    command = [sys.executable, store_storm.__file__, str(tmp_path), str(count)]
    running: list[subprocess.Popen[str]] = []
    told: list[Told] = []

    def start() -> None:
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))

    def hear(process: subprocess.Popen[str], lines: int) -> None:
        assert process.stdout is not None
        told.extend(Told(*json.loads(process.stdout.readline())) for _ in range(lines))

    for _ in range(processes):
        start()
    for _ in range(kills):
        victim = chance.choice(running)
        hear(victim, chance.randrange(1, 4))
        victim.kill()
        told.extend(Told(*json.loads(line)) for line in victim.communicate()[0].splitlines())
        running.remove(victim)
        start()
    for process in running:
        lines, _ = process.communicate()
        assert process.returncode == 0
        told.extend(Told(*json.loads(line)) for line in lines.splitlines())
    store = opened(tmp_path)
    store_storm.check(store, told, silent=kills)
    store.put(store_storm.KEY, {}, None)
    store.close()
    assert len(contents(tmp_path / HOME)) == 1, "something is left behind"


def test_who_is_killed_has_done_a_change_or_not(tmp_path: Path, any_seed: int) -> None:
    storm(tmp_path, any_seed, processes=2, count=12, kills=3)


@pytest.mark.long
def test_a_storm_of_processes_that_are_killed(tmp_path: Path, any_seed: int) -> None:
    storm(tmp_path, any_seed, processes=6, count=400, kills=40)


def test_what_is_there_is_always_seen(tmp_path: Path) -> None:
    """While its files are renamed all the time; and its version never goes back."""
    writer, reader = opened(tmp_path), opened(tmp_path)
    writer.put("k", {}, 0)
    seen = [0]
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(lambda: [writer.put("k", {}, None) for _ in range(40)])
        while not writing.done():
            seen.append(reader.list("")["k"].version)
            entry = reader.get("k")
            assert entry is not None
            seen.append(entry.version)
        assert writing.result() == list(range(2, 42))
    assert seen == sorted(seen)
    writer.close()
    reader.close()


def test_nothing_is_left_of_what_was_deleted(tmp_path: Path, home: Path) -> None:
    store = opened(tmp_path)
    for number in range(20):
        version = store.put(f"tasks/{number}", {}, 0)
        store.delete(f"tasks/{number}", version)
    size = sum(path.stat().st_size for path in home.iterdir())
    assert len(list(home.iterdir())) <= 2 * COUNT + 1
    assert b"tasks" not in b"".join(path.read_bytes() for path in home.iterdir())
    assert size < COUNT * 1000
    store.close()


def test_a_lease_that_was_kept_alive_in_time_holds(tmp_path: Path, any_seed: int) -> None:
    """With a time so short that it often ends: the entry is there while its holder counts on it, or
    it has been told."""
    chance = Random(any_seed)
    holder, other = opened(tmp_path), opened(tmp_path)
    lease = holder.grant(0.2)
    holder.put("alive", {}, None, lease)
    for _ in range(8):
        enough = chance.uniform(-0.1, 0.2)
        while lease.left() > enough:
            entry = other.get("alive")
            assert entry is not None or lease.left() <= 0
        try:
            lease.keepalive()
        except Expired:
            assert other.get("alive") is None
            lease = holder.grant(0.2)
            with contextlib.suppress(Expired):
                holder.put("alive", {}, 0, lease)
    holder.close()
    other.close()


# What others do to the directory


def stranger(home: Path) -> None:
    (home / "README").write_text("?")
    (home / "3f.1.x.json").write_text("?")
    (home / ".nfs0001").write_text("?")
    (home / "lost+found").mkdir()
    os.mkfifo(home / "fifo")
    (home / "link").symlink_to("nowhere")
    (home / "\udcff").write_text("?")
    (home / "00.1.0123456789abcdef.json").mkdir()  # somebody's draft, as it were


def test_what_is_foreign_is_left_alone(tmp_path: Path, home: Path) -> None:
    store = opened(tmp_path)
    (tmp_path / "another").write_text("file")
    store.put("k", {}, 0)
    stranger(home)
    before = set(home.iterdir())
    store.put("k", {"n": 1}, None)
    store.delete("k", None)
    assert opened(tmp_path).list("") == {}
    assert {
        path for path in before - set(home.iterdir()) if f"{PLACE:02x}." not in path.name
    } == set()
    store.close()


def directory_instead(content: Path) -> None:
    content.unlink()
    content.mkdir()


def fifo_instead(content: Path) -> None:
    content.unlink()
    os.mkfifo(content)


def link_instead(content: Path) -> None:
    content.rename(content.parent / "moved")
    content.symlink_to("moved")


def rewritten(**changes: object) -> Callable[[Path], None]:
    def rewrite(content: Path) -> None:
        content.write_text(json.dumps(json.loads(content.read_text()) | changes))

    rewrite.__name__ = str(changes)
    return rewrite


def written(data: bytes) -> Callable[[Path], None]:
    def write(content: Path) -> None:
        content.write_bytes(data)

    write.__name__ = str(data)
    return write


def truncated(content: Path) -> None:
    content.write_bytes(content.read_bytes()[:-5])


DAMAGES = [
    directory_instead,
    fifo_instead,
    link_instead,
    Path.unlink,
    truncated,
    written(b""),
    written(b"\xff"),
    written(b"[]"),
    written(b"{}"),
    written(b"[" * 100_000),
    rewritten(format=2),
    rewritten(trail=[]),
    rewritten(trail=[1]),
    rewritten(trail=["0123456789abcdef"]),
    rewritten(entries=[]),
    rewritten(entries={"k": []}),
    rewritten(entries={"k": ["{}", "1", ""]}),
    rewritten(entries={"k": ["{}", 1 << 40, ""]}),
    rewritten(entries={"k": ["{}", 0, ""]}),
    rewritten(entries={"k": [1, 1, ""]}),
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__[:40])
def test_damage_is_told_and_nothing_else_is_lost(
    tmp_path: Path, home: Path, damage: Callable[[Path], None]
) -> None:
    writer = opened(tmp_path)
    version = writer.put("k", {"n": 1}, 0)
    writer.put("another", {}, 0)
    writer.close()
    (content,) = home.glob(f"{PLACE:02x}.*.json")
    safe = content.read_bytes()
    damage(content)
    store = opened(tmp_path)
    for ask in (
        lambda: store.get("k"),
        lambda: store.list("another"),
        lambda: store.put("k", {}, None),
        lambda: store.watch("another"),
    ):
        with pytest.raises(StoreError, match=r"restore it|cannot read") as caught:
            ask()
        assert "\n" not in str(caught.value) and str(home) in str(caught.value)
    assert store.get("another")
    if content.is_dir():
        content.rmdir()
    content.unlink(missing_ok=True)
    content.write_bytes(safe)
    assert store.get("k") == Entry({"n": 1}, version)
    store.close()


def test_a_value_that_is_none_is_told_of_and_can_be_put_again(tmp_path: Path, home: Path) -> None:
    store = opened(tmp_path)
    store.put("k", {}, 0)
    (content,) = home.glob("*.json")
    for text in ("[]", "{", '{"a":NaN}', "[" * 100_000, '"\\ud800"'):
        rewritten(entries={"k": [text, 1, ""]})(content)
        again = opened(tmp_path)
        for ask in (again.get, again.list, partial(again.put, value={}, expected=7)):
            with pytest.raises(StoreError, match="no JSON object at k"):
                ask("k")
        again.close()
    assert opened(tmp_path).put("k", {}, None) == 2
    store.close()


def test_a_directory_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """It may lie on what is not mounted."""
    missing = opened(tmp_path / "missing")
    with pytest.raises(StoreError, match=r"there is no directory .*/missing: make it"):
        missing.get("k")
    (tmp_path / "missing").mkdir()
    assert missing.put("k", {}, 0) == 1
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(StoreError, match=r"Not a directory|no directory"):
        opened(file).get("k")


def test_a_store_that_vanished_is_not_made_anew(tmp_path: Path, home: Path) -> None:
    store = opened(tmp_path)
    version = store.put("k", {}, 0)
    home.rename(tmp_path / "away")
    for ask in (store.get, store.list, lambda key: store.put(key, {}, None)):
        with pytest.raises(StoreError, match="has vanished"):
            ask("k")
    another = opened(tmp_path)
    another.put("k", {"of": "another"}, 0)
    with pytest.raises(StoreError, match="another than it was"):
        store.get("k")
    shutil.rmtree(home)
    (tmp_path / "away").rename(home)
    assert store.get("k") == Entry({}, version)
    with pytest.raises(StoreError, match="another than it was"):
        another.get("k")
    store.close()
    another.close()


def test_a_store_that_was_set_back_is_not_believed(tmp_path: Path, home: Path) -> None:
    store = opened(tmp_path)
    store.put("k", {}, 0)
    shutil.copytree(home, tmp_path / "copy")
    store.put("k", {}, None)
    shutil.rmtree(home)
    (tmp_path / "copy").rename(home)
    with pytest.raises(StoreError, match="older state than before"):
        store.get("k")
    assert opened(tmp_path).get("k") == Entry({}, 1)
    store.close()


@pytest.mark.parametrize("damage", ["empty", "half", "foreign"])
def test_what_is_no_store_is_refused(tmp_path: Path, home: Path, damage: str) -> None:
    if damage == "half":
        Shards(home).read(PLACE)
        next(home.glob("3f.*")).unlink()
    else:
        home.mkdir()
    if damage == "foreign":
        (home / "file").touch()
    with pytest.raises(StoreError, match=r"is no store|not all files of a store"):
        opened(tmp_path).get("k")


AS_NOBODY = """
import sys
from pathlib import Path
from vlockstep.cluster.store import DirectoryStore, StoreError
store = DirectoryStore(Path(sys.argv[1]))
for ask in (lambda: store.get("k"), lambda: store.put("k", {"n": 2}, None)):
    try:
        print(ask())
    except StoreError as error:
        print(error)
"""


@pytest.mark.external("setpriv")
@pytest.mark.parametrize(
    ("mode", "said"),
    [
        (0o755, ["Entry(value={'n': 1}, version=1)", "cannot write the store"]),
        (0o000, ["cannot read the store", "cannot read the store"]),
    ],
)
def test_without_permission(mode: int, said: list[str]) -> None:
    if os.geteuid():
        pytest.skip("needs to become somebody else")
    with tempfile.TemporaryDirectory(prefix="vlockstep-store-") as name:
        _check_without_permission(Path(name), mode, said)


def _check_without_permission(path: Path, mode: int, said: list[str]) -> None:
    store, home = opened(path), path / HOME
    store.put("k", {"n": 1}, 0)
    home.chmod(mode)
    path.chmod(0o755)
    run = ["setpriv", "--reuid=65534", "--clear-groups", sys.executable, "-c", AS_NOBODY, path]
    done = subprocess.run(run, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 2, done
    for line, text in zip(lines, said, strict=True):
        assert line.startswith(text)
        assert "Entry" in line or line.endswith(f"{home}: Permission denied")
    home.chmod(0o755)
    assert store.get("k") == Entry({"n": 1}, 1)
    store.close()


ON_A_FULL_DISK = """
import os, sys
from pathlib import Path
from vlockstep.cluster.store import DirectoryStore, StoreError
path = Path(sys.argv[1])
store = DirectoryStore(path)
version = store.put("k", {"n": 1}, 0)
try:
    with (path / "ballast").open("wb") as file:
        while True:
            file.write(bytes(512))
            file.flush()
except OSError:
    pass
try:
    store.put("k", {"text": "x" * 100000}, version)
except StoreError as error:
    print(error)
print(store.get("k"), [name for name in os.listdir(path / "vlockstep-store") if "json" in name])
(path / "ballast").unlink()
print(store.put("k", {"n": 2}, version))
"""


@pytest.mark.external("unshare", "mount")
def test_on_a_full_disk_what_was_there_stays(tmp_path: Path) -> None:
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        (pytest.fail if "CI" in os.environ else pytest.skip)("needs a mount namespace")
    script = 'mount -t tmpfs -o size=1M none "$0" && exec "$@"'
    run = ["unshare", "-rm", "/bin/sh", "-c", script, tmp_path, sys.executable, "-c"]
    done = subprocess.run([*run, ON_A_FULL_DISK, tmp_path], capture_output=True, text=True)
    error, entry, version = done.stdout.splitlines()
    assert error == f"cannot write the store {tmp_path / HOME}: No space left on device"
    assert entry.startswith("Entry(value={'n': 1}, version=1) ['") and entry.count("json") == 1
    assert version == "2"


# Calls that hang


def test_nobody_waits_longer_than_the_limit_and_nothing_is_done_afterwards() -> None:
    worker, hung, done = Worker("the disk", 0.05), threading.Event(), list[str]()
    with pytest.raises(StoreError, match="the disk does not answer within"):
        worker.call(lambda: hung.wait(60))
    with pytest.raises(StoreError, match="the disk does not answer within"):
        worker.call(lambda: done.append("too late"))
    hung.set()
    patient = Worker("it", 60)
    assert patient.call(lambda: "answer") == "answer"
    with pytest.raises(Conflict):
        patient.call(conflict)
    ended = threading.Event()
    patient.close(ended.set)
    assert ended.wait(60)
    worker.close(ended.clear)
    while ended.is_set():
        pass
    assert done == []


def conflict() -> None:
    raise Conflict("k", None)


def test_errors_are_sentences() -> None:
    for error in (Conflict("k", None), Conflict("k", Entry({}, 3)), Expired()):
        assert isinstance(error, VlockstepError) and "\n" not in str(error)
