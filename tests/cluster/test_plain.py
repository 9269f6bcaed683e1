"""Records as JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlockstep.cluster import records
from vlockstep.cluster.plain import PlainError, from_plain, to_plain
from vlockstep.cluster.records import (
    Begin,
    ClusterRecord,
    GuestRecord,
    HostRecord,
    Life,
    Order,
    ReplicaReport,
    Report,
    RuleRecord,
    Task,
)

RECORDS = [
    ClusterRecord("lab", "1234"),
    HostRecord("a", "i", "tcp://127.0.0.1:1", "127.0.0.1", 100, 512, {"shared": "/mnt"}),
    GuestRecord("g", "shared", "g", {"image": "kv", "disk": {"d": {"path": "d.img"}}}),
    RuleRecord("r", "apart", 1, ("a", "b")),
    Order("g", 3, Begin.JOIN, "shared", "g", {"image": "kv"}, join="tcp://127.0.0.1:3"),
    Report("a", "i", 3, 1.5, {"g": ReplicaReport(3, Life.RUNNING, moved="")}),
    Task(3, "start", "g", "me", 1.0, {"host": None}),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_comes_back(record: Any) -> None:
    assert from_plain(type(record), json.loads(json.dumps(to_plain(record)))) == record


def test_what_another_version_knows_is_not_heeded() -> None:
    told = to_plain(RECORDS[3]) | {"colour": "red"}
    del told["enabled"]
    assert from_plain(RuleRecord, told) == RECORDS[3]


@pytest.mark.parametrize(
    ("kind", "told", "said"),
    [
        (RuleRecord, [], "RuleRecord is list, not dict"),
        (RuleRecord, {"name": "r"}, "missing 3 required positional arguments"),
        (RuleRecord, {"name": "r", "kind": "k", "number": "1"}, "RuleRecord.number is str"),
        (GuestRecord, {"power": "half"}, "GuestRecord.power is none of on, off"),
        (Report, {"replicas": {"g": {"attempt": 1, "life": 3}}}, "Report.replicas.g.life is int"),
    ],
)
def test_what_is_none_is_refused(kind: type, told: Any, said: str) -> None:
    with pytest.raises(PlainError, match=said.replace(".", r"\.")):
        from_plain(kind, told)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)


@given(data=st.data())
def test_whatever_stands_there_is_taken_or_refused(data: st.DataObject) -> None:
    record = data.draw(st.sampled_from(RECORDS))
    told = to_plain(record)
    told[data.draw(st.sampled_from(sorted(told)))] = data.draw(_JSON)
    try:
        from_plain(type(record), told)
    except PlainError:
        return


def test_keys_are_in_the_order_of_their_numbers() -> None:
    found = [records.numbered("tasks", number) for number in (2, 10, 100)]
    assert found == sorted(found)
