"""Whatever stands in a cluster's store, the view of it stands, and says what is broken."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stored import ADVISED, Cluster

from vlockstep.cluster.model import Role
from vlockstep.cluster.plain import to_plain
from vlockstep.cluster.records import (
    ADVICE,
    CLUSTER,
    EVENTS,
    RETIRED,
    RULES,
    TASKS,
    Advice,
    ClusterEvent,
    Retired,
    RuleRecord,
    Task,
    TaskState,
    key,
    numbered,
)
from vlockstep.cluster.store import Content, MemoryStore
from vlockstep.cluster.store.values import Stored, entry_or_unreadable
from vlockstep.errors import VlockstepError
from vlockstep.web.clusters import ClusterSource
from vlockstep.web.counts import Counts
from vlockstep.web.metrics import of_view
from vlockstep.web.model import Model, Picture

TOOK = {"role": "primary", "gap_ms": 3.0, "bytes": 1, "disk_bytes": 0, "rounds": 1}
MIGRATING = {
    "phase": "memory",
    "text": "",
    "bytes": 1,
    "rounds": 1,
    "lag_entries": 1,
    "throttle": 0,
}


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """By key, one of each kind at least."""
    cluster = Cluster(tmp_path_factory.mktemp("broken"))
    cluster.report(1.0, 0, migration=MIGRATING, cause="lost", silent_ms=3.0)
    details = {"host": "b", "role": str(Role.PRIMARY), "reason": "balance"}
    over = {"state": TaskState.DONE, "begun": 2.0, "ended": 3.0, "result": {"took": TOOK}}
    runs = {"state": TaskState.RUNNING, "result": {"from": "a", "to": "b", "role": "primary"}}
    moved = {"cause": "lost", "silent_ms": 3.0}
    added = {
        key(RULES, "r"): RuleRecord("r", "apart", 1, ("books", "idle")),
        numbered(TASKS, 1): Task(1, "migrate", "books", "me", 1.0, details, **over),
        numbered(TASKS, 2): Task(2, "migrate", "books", "me", 1.0, details, **runs),
        numbered(EVENTS, 1): ClusterEvent(1, 1.0, "guest-failed-over", "", "a", "books", moved),
        ADVICE: Advice(1.0, (ADVISED,)),
        RETIRED: Retired(3),
    }
    found = {name: entry.value for name, entry in cluster.store.list("").items()}
    return found | {name: to_plain(record) for name, record in added.items()}


class Store(MemoryStore):
    """In which anybody may write anything."""

    def __init__(self, records: dict[str, dict[str, Any]]) -> None:
        self.content = Content(lambda: 0.0)
        super().__init__(self.content, entry_or_unreadable)
        for name, value in records.items():
            self.put(name, value, 0)

    def write(self, name: str, text: str) -> None:
        self.content.put(name, Stored(text, self.content.step(), ""))


def all_of(source: ClusterSource) -> Picture:
    """What a server would work out of it; each guest can be asked about."""
    picture, model, counts = source.look(), Model("cluster", 0), Counts()
    counts.see(picture)
    model.see(picture)
    json.dumps(model.view(), allow_nan=False)
    of_view(model.view(), counts)
    for guest in picture.guests:
        with suppress(VlockstepError):
            json.dumps(source.details(guest), allow_nan=False)
        for host in picture.hosts:
            with suppress(VlockstepError):
                source.compatibility(guest, host, "primary")
    return picture


def broken(picture: Picture) -> list[str]:
    """Keys that are told to be."""
    told = (problem["what"].removeprefix("the record ") for problem in picture.problems)
    return [text.partition(" ")[0] for text in told if text.endswith(" in the store is broken")]


def test_all_is_well_at_first(records: dict[str, dict[str, Any]]) -> None:
    with closing(ClusterSource("memory", Store(records))) as source:
        picture = all_of(source)
        assert broken(picture) == []
        assert picture.guests["books"]["migration"] and picture.recommendations


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"a": NaN}', '{"a": 1e999}', "{}", "\0"])
def test_each_kind_may_be_broken(records: dict[str, dict[str, Any]], text: str) -> None:
    """Each is told, with what is wrong; the others are seen as ever."""
    for name in records:
        store = Store(records)
        with closing(ClusterSource("memory", store)) as source:
            source.look()
            store.write(name, text)
            picture = all_of(source)
            told = broken(picture)
            assert told == ([] if (name, text) == (RETIRED, "{}") else [name])
            if told:
                problem = picture.problems[0]
                assert problem["cause"] and "delete it there" in problem["do"]
            store.write(name, json.dumps(records[name]))
            assert broken(all_of(source)) == []


def values() -> st.SearchStrategy[Any]:
    numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    numbers |= st.sampled_from([10**400, -(10**400), 1 << 63, 1e308])
    plain = st.none() | st.booleans() | numbers | st.text(max_size=4)
    return st.recursive(
        plain,
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner),
        max_leaves=4,
    )


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Of all that is in it."""
    found = value.items() if isinstance(value, dict) else enumerate(value)
    for name, inner in found:
        yield (*path, name)
        if isinstance(inner, dict | list):
            yield from places(inner, (*path, name))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_anything_may_stand_anywhere(
    records: dict[str, dict[str, Any]], data: st.DataObject
) -> None:
    """In the place of any value within a record, or beside it."""
    name = data.draw(st.sampled_from(sorted(records)))
    value = json.loads(json.dumps(records[name]))
    *path, last = data.draw(st.sampled_from(sorted(places(value), key=repr)))
    inner = value
    for step in path:
        inner = inner[step]
    inner[last] = data.draw(values())
    store = Store(records)
    with closing(ClusterSource("memory", store)) as source:
        source.look()
        store.write(name, json.dumps(value))
        picture = all_of(source)
        assert set(broken(picture)) <= {name}
        if name != CLUSTER and not name.startswith("guests/books"):
            assert "books" in picture.guests


def test_a_broken_record_in_a_directory_hides_no_others(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    with closing(ClusterSource(cluster.name)) as source:
        source.look()
        written: Any = cluster.store
        written._change("guests/idle", None, "no JSON")
        assert broken(source.look()) == ["guests/idle"]
        assert source.look().guests.keys() == {"books", "late"}
