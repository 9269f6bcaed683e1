"""The view in revisions: who applies the changes has what it shows."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from webclient import applied

from vlockstep.web.model import CHANGES, EVENTS, Model, Picture

NAMES = st.sampled_from(["a", "b", "c", "<i>"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
PARTS = st.dictionaries(NAMES, VALUES, max_size=4)


def event(kind: str = "x") -> Any:
    return {"number": 0, "time": 1.0, "kind": kind, "text": "", "host": None, "guest": None}


@st.composite
def pictures(draw: st.DrawFn) -> Picture:
    return Picture(
        cluster=draw(st.none() | PARTS),  # type: ignore[arg-type]
        guests=draw(PARTS),
        tasks=draw(PARTS),
        problems=draw(st.lists(VALUES, max_size=2)),  # type: ignore[arg-type]
        events=[event() for _ in range(draw(st.integers(0, 2)))],
    )


@settings(max_examples=40)
@given(st.lists(pictures(), max_size=4))
def test_changes_lead_from_each_view_to_the_next(seen: list[Picture]) -> None:
    model = Model("cluster", 5)
    views = {model.revision: json.loads(json.dumps(model.view()))}
    for picture in seen:
        before, change = model.revision, model.see(picture)
        now = json.loads(json.dumps(model.view()))
        assert model.revision == before + (change is not None)
        assert (change is None) == (now == views[before])
        views[model.revision] = now
    for revision, view in views.items():
        changes = model.since(revision)
        assert changes is not None
        for change in json.loads(json.dumps(changes)):
            view = applied(view, change)
        assert view == views[model.revision]


def test_equal_pictures_change_nothing() -> None:
    model = Model("guests", 0)
    assert model.see(Picture(guests={"a": {"lag": 1}})) is not None  # type: ignore[dict-item]
    assert model.see(Picture(guests={"a": {"lag": 1}})) is None  # type: ignore[dict-item]
    assert model.revision == 1


def test_true_is_not_1() -> None:
    """Python says that they are equal; JSON does not."""
    model = Model("guests", 0)
    model.see(Picture(guests={"a": {"x": 1}}))  # type: ignore[dict-item]
    change = model.see(Picture(guests={"a": {"x": True}}))  # type: ignore[dict-item]
    assert change is not None and change["set"] == [(["guests", "a", "x"], True)]


def test_who_knows_what_never_was_gets_all() -> None:
    """Such as a revision of a server before."""
    model = Model("cluster", 1000)
    for number in range(CHANGES + 5):
        model.see(Picture(tasks={"1": {"n": number}}))
    assert model.since(model.revision) == []
    assert len(model.since(model.revision - CHANGES) or ()) == CHANGES
    assert model.since(model.revision - CHANGES - 1) is None
    assert model.since(model.revision + 1) is None
    assert model.since(3) is None


def test_the_newest_events_stay_and_numbers_rise() -> None:
    model = Model("cluster", 0)
    for _ in range(3):
        model.see(Picture(events=[event() for _ in range(EVENTS // 2)]))
    numbers = [each["number"] for each in model.view()["events"]]
    assert numbers == list(range(EVENTS // 2 + 1, EVENTS // 2 * 3 + 1))


@pytest.mark.parametrize(
    ("kind", "text", "details", "level"),
    [
        ("live", "live as generation 2: the primary was silent", {"cause": "silence"}, "warn"),
        ("live", "live as generation 2", {"cause": "switchover"}, "good"),
        ("live", "live as generation 2", {"cause": "resumed"}, "good"),
        ("guest-failed-over", "books goes on on b", {"cause": "lost"}, "warn"),
        ("guest-failed-over", "books goes on on b", {}, "warn"),
        ("guest-failed-over", "books goes on on b", {"cause": "test"}, "good"),
        ("guest-failed-over", "books goes on on b", {"cause": "joined"}, "warn"),
        ("guest-failed-over", "books goes on on b", {"cause": ["?"]}, "warn"),
        ("guest-switched-over", "the primary is on b", {}, "good"),
        ("guest-moved", "books has moved", {}, "good"),
        ("following", "following the new primary, generation 2", {}, "plain"),
        ("host-lost", "b has failed", {}, "bad"),
        ("notice", "the connection to the primary was lost", {}, "warn"),
        ("alone", "going on alone", {}, "warn"),
    ],
)
def test_events_that_a_person_should_look_at(
    kind: str, text: str, details: dict[str, Any], level: str
) -> None:
    """Planned takeovers are none of them."""
    model = Model("cluster", 0)
    event: Any = {"number": 0, "kind": kind, "text": text, "details": details}
    model.see(Picture(events=[event]))
    assert model.view()["events"][0]["level"] == level  # type: ignore[typeddict-item]
