"""What every store promises, of all of them."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest
from store_backends import BACKENDS, Backend, increments

from vlockstep.cluster.store import Change, Conflict, Entry, Expired, Store
from vlockstep.cluster.store.values import MAX_KEY, MAX_VALUE
from vlockstep.errors import UsageError

SECONDS = 30.0
"""For what comes at once."""


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Backend:
    backend: Backend = request.getfixturevalue(request.param)
    return backend


@pytest.fixture
def store(backend: Backend) -> Store:
    return backend.open()


def test_a_key_is_created_changed_and_deleted_by_its_version(backend: Backend) -> None:
    store, other = backend.open(), backend.open()
    assert store.get("hosts/a") is None
    first = store.put("hosts/a", {"cpu": 1}, 0)
    assert first > 0
    assert other.get("hosts/a") == Entry({"cpu": 1}, first)
    second = other.put("hosts/a", {"cpu": 2}, first)
    assert second > first
    for expected in (0, first, second + 1):
        with pytest.raises(Conflict, match="hosts/a") as caught:
            store.put("hosts/a", {"cpu": 3}, expected)
        assert caught.value.entry == Entry({"cpu": 2}, second)
        if expected:
            with pytest.raises(Conflict) as caught:
                store.delete("hosts/a", expected)
            assert caught.value.entry == Entry({"cpu": 2}, second)
    store.delete("hosts/a", second)
    assert other.get("hosts/a") is None
    with pytest.raises(Conflict, match="not there") as caught:
        other.put("hosts/a", {}, second)
    assert caught.value.entry is None


def test_whatever_is_there_can_be_overwritten_and_deleted(store: Store) -> None:
    first = store.put("k", {"n": 1}, None)
    second = store.put("k", {"n": 2}, None)
    assert second > first
    store.delete("k", None)
    store.delete("k", None)
    store.delete("k", 0)
    assert store.get("k") is None


def test_versions_rise_over_deletions_and_the_same_value(backend: Backend) -> None:
    store, other = backend.open(), backend.open()
    versions = []
    for _ in range(4):
        versions.append(store.put("k", {}, 0))
        versions.append(other.put("k", {}, versions[-1]))
        other.delete("k", versions[-1])
    assert versions == sorted(set(versions))


def test_a_prefix_means_whole_parts(store: Store) -> None:
    keys = ["hosts", "hosts/a", "hosts/a-b", "hosts/a/x", "hosts/ab", "hosts0", "hostsandmore/a"]
    entries = {key: Entry({"key": key}, store.put(key, {"key": key}, 0)) for key in keys}
    beneath = ["hosts/a", "hosts/a-b", "hosts/a/x", "hosts/ab"]
    for prefix, expected in {
        "": keys,
        "hosts": ["hosts", *beneath],
        "hosts/": beneath,
        "hosts/a": ["hosts/a", "hosts/a/x"],
        "hosts/a/": ["hosts/a/x"],
        "host": [],
        "hosts/b": [],
    }.items():
        assert store.list(prefix) == {key: entries[key] for key in expected}, prefix
        assert list(store.list(prefix)) == sorted(expected)


@pytest.mark.parametrize(
    "key",
    ["k", "ä/☃/𝄞", "with space/and 'quotes' \"of\" both/%2f/\\", "é", "e\u0301", "k" * MAX_KEY],
)
def test_odd_keys(store: Store, key: str) -> None:
    version = store.put(key, {}, 0)
    assert store.list("") == {key: Entry({}, version)}
    assert store.get(key) == Entry({}, version)


@pytest.mark.parametrize(
    "key",
    ["", "/", "a//b", "/a", "a/", ".", "a/..", ".leases/x", "a\nb", "a\0", "\ud800", "k" * 513],
)
def test_what_is_no_key(store: Store, key: str) -> None:
    with pytest.raises(UsageError, match="is no key"):
        store.get(key)
    with pytest.raises(UsageError, match="is no key"):
        store.put(key, {}, None)
    with pytest.raises(UsageError, match="is no key"):
        store.delete(key, None)
    if key not in ("", "a/"):
        with pytest.raises(UsageError, match="is no key"):
            store.list(key)
        with pytest.raises(UsageError, match="is no key"):
            store.watch(key)


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"": None},
        {"ä☃𝄞": '\0\n\t"\\/\u2028'},
        {"n": [0, -1, 1.5, 1e300, 1 << 70, True, False, None, "", [], {}]},
        {"text": "x" * (MAX_VALUE - 11)},
        {"text": "ä" * ((MAX_VALUE - 11) // 2)},
        {"quotes": '"' * ((MAX_VALUE - 13) // 2)},
    ],
    ids=lambda value: str(value)[:20],
)
def test_odd_values_come_back_as_they_were(backend: Backend, value: dict[str, object]) -> None:
    version = backend.open().put("k", value, 0)
    assert backend.open().get("k") == Entry(value, version)


@pytest.mark.parametrize(
    "value",
    [
        [],
        "text",
        {"text": "x" * (MAX_VALUE - 10)},
        {"text": "\ud800"},
        {1: 2},
        {"a": {None: 1}},
        {"a": {1, 2}},
        {"a": b"bytes"},
        {"a": float("nan")},
        {"a": [float("inf")]},
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_no_value(store: Store, value: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="the value for k"):
        store.put("k", value, None)
    assert store.get("k") is None


def test_a_value_may_not_be_nested_without_end(store: Store) -> None:
    value: dict[str, object] = {}
    value["itself"] = value
    with pytest.raises(UsageError, match="the value for k"):
        store.put("k", value, 0)


def test_nobody_has_what_another_one_changes_in_his_hands(store: Store) -> None:
    value = {"list": [1]}
    store.put("k", value, 0)
    value["list"].append(2)
    for read in (lambda: store.get("k"), lambda: store.list("")["k"]):
        entry = read()
        assert entry is not None and entry.value == {"list": [1]}
        entry.value["list"].append(3)
    again = store.get("k")
    assert again is not None and again.value == {"list": [1]}


def test_a_negative_version_is_refused(store: Store) -> None:
    with pytest.raises(UsageError, match="-1"):
        store.put("k", {}, -1)
    with pytest.raises(UsageError, match="-1"):
        store.delete("k", -1)


def told(watch, count: int) -> list[Change]:  # type: ignore[no-untyped-def]
    """So many changes, in however many polls."""
    changes: list[Change] = []
    while len(changes) < count:
        some = watch.poll(SECONDS)
        assert some, f"only {changes}"
        changes += some
    return changes


def test_a_watch_tells_of_what_has_changed_since(backend: Backend) -> None:
    store, other = backend.open(), backend.open()
    store.put("hosts/before", {}, 0)
    gone = store.put("hosts/gone", {}, 0)
    watch = store.watch("hosts/")
    assert watch.poll(0) == []
    version = other.put("hosts/a", {"n": 1}, 0)
    other.put("hostsandmore", {}, 0)
    assert told(watch, 1) == [Change("hosts/a", Entry({"n": 1}, version))]
    other.delete("hosts/gone", gone)
    assert told(watch, 1) == [Change("hosts/gone", None)]
    version = other.put("hosts/b", {}, 0)
    assert told(watch, 1) == [Change("hosts/b", Entry({}, version))]
    assert watch.poll(0) == []
    watch.close()


def test_a_watch_of_one_key(backend: Backend) -> None:
    store, other = backend.open(), backend.open()
    watch = store.watch("tasks/1")
    other.put("tasks/12", {}, 0)
    other.put("tasks/1-2", {}, 0)
    version = other.put("tasks/1", {}, 0)
    assert told(watch, 1) == [Change("tasks/1", Entry({}, version))]
    watch.close()


def test_a_watch_that_is_older_than_a_list_misses_nothing(backend: Backend) -> None:
    """What the list had, with the changes that are told afterwards, is what is there."""
    store, other = backend.open(), backend.open()
    version = other.put("k/0", {}, 0)
    watch = store.watch("k")
    other.put("k/1", {}, 0)
    other.delete("k/0", version)
    entries = store.list("k")
    for number in range(2, 20):
        other.put(f"k/{number % 7}", {"n": number}, None)
        if number % 5 == 0:
            other.delete(f"k/{number % 7}", None)
    final = other.list("k")
    while entries != final:
        changes = watch.poll(SECONDS)
        assert changes, "something was not told"
        for key, entry in changes:
            if entry is None:
                entries.pop(key, None)
            else:
                entries[key] = entry
    watch.close()


def test_a_lease_keeps_an_entry_while_it_is_kept_alive(backend: Backend) -> None:
    store, other = backend.open(), backend.open()
    lease = store.grant(backend.ttl)
    assert lease.ttl >= backend.ttl >= lease.left()
    version = store.put("alive/a", {}, 0, lease)
    store.put("stays", {}, 0)
    watch = other.watch("")
    for _ in range(3):
        backend.elapse(backend.ttl / 2)
        lease.keepalive()
        assert other.get("alive/a") == Entry({}, version)
    assert watch.poll(0) == []
    while not (changes := watch.poll(backend.ttl / 4)):
        assert lease.left() > -SECONDS
        backend.elapse(backend.ttl / 4)
    assert changes == [Change("alive/a", None)]
    assert lease.left() <= 0
    assert store.get("alive/a") is None
    assert list(other.list("")) == ["stays"]
    with pytest.raises(Expired, match="lease"):
        lease.keepalive()
    with pytest.raises(Expired, match="lease"):
        store.put("alive/b", {}, 0, lease)
    assert store.put("alive/a", {}, 0) > version
    watch.close()


def test_a_lease_that_is_revoked_ends_at_once(backend: Backend) -> None:
    store, other = backend.open(), backend.open()
    lease, second = store.grant(600), other.grant(600)
    for key in ("a", "b", "c", "d"):
        store.put(key, {}, 0, lease)
    store.put("b", {"now": "with another"}, None, second)
    store.put("c", {"now": "without"}, None)
    lease.revoke()
    assert list(other.list("")) == ["b", "c"]
    assert store.get("a") is None
    with pytest.raises(Expired):
        lease.keepalive()
    second.keepalive()
    second.revoke()
    second.revoke()
    assert list(store.list("")) == ["c"]


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf"), 1e9])
def test_a_lease_lasts_some_time(store: Store, ttl: float) -> None:
    with pytest.raises(UsageError, match="lease"):
        store.grant(ttl)


def test_of_all_who_expect_a_version_exactly_one_succeeds(backend: Backend) -> None:
    """Processes and threads count up by compare-and-set: every success counts once."""
    if not backend.address:
        pytest.skip("no other process has it")
    store = backend.open()
    watch = store.watch("counters")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool, ThreadPoolExecutor(2) as threads:
        runs = [pool.submit(increments, backend.address, 20) for _ in range(2)]
        runs += [threads.submit(increments, backend.address, 20) for _ in range(2)]
        counted = [run.result() for run in runs]
    for key in ("counters/a", "counters/b"):
        entry = store.get(key)
        assert entry is not None
        versions = [version for count in counted for version in count[key]]
        assert entry.value == {"count": len(versions)}
        assert len(set(versions)) == len(versions) and max(versions) == entry.version
    assert {change.key for change in watch.poll(SECONDS)} == {"counters/a", "counters/b"}
    watch.close()
