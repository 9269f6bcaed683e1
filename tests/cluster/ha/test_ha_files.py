"""What hosts write on datastores for each other, and where."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlockstep.cluster.ha import datastore as files
from vlockstep.cluster.ha.datastore import (
    MAX_FILE,
    MAX_GUESTS,
    DamagedFile,
    Heartbeat,
    PoweredOff,
    PowerOn,
    ProtectedGuest,
    ProtectedList,
    heartbeat_datastores,
)
from vlockstep.cluster.model import Priority
from vlockstep.errors import UsageError

KINDS = (Heartbeat, PowerOn, ProtectedList, PoweredOff)
WEB = ProtectedGuest("web", "guests/web", Priority.HIGH, 100, 320)
NAMES = st.text("aZ9.-_", max_size=62).map("n{}".format)
GUESTS = st.builds(
    ProtectedGuest,
    NAMES,
    NAMES,
    st.sampled_from(Priority),
    st.integers(0, 1 << 62),
    st.integers(0, 1 << 62),
)


@given(st.integers(0, (1 << 63) - 1))
def test_heartbeats(counter: int) -> None:
    assert Heartbeat.parse(Heartbeat(counter).format(), "hb") == Heartbeat(counter)


@given(st.booleans(), st.lists(NAMES, unique=True, max_size=5))
def test_what_runs(isolated: bool, guests: list[str]) -> None:
    poweron = PowerOn(isolated, tuple(sorted(guests)))
    assert PowerOn.parse(poweron.format(), "poweron") == poweron


@given(st.lists(GUESTS, unique_by=lambda guest: guest.name, max_size=5))
def test_protected_guests(guests: list[ProtectedGuest]) -> None:
    protected = ProtectedList(tuple(guests))
    assert ProtectedList.parse(protected.format(), "protectedlist") == protected


@given(NAMES)
def test_marks_of_who_stopped_a_guest(host: str) -> None:
    assert PoweredOff.parse(PoweredOff(host).format(), "web") == PoweredOff(host)


def test_the_most_guests_fit() -> None:
    longest = [f"{number:a<63}" for number in range(10**5, 10**5 + MAX_GUESTS)]
    assert len(PowerOn(True, tuple(longest)).format()) <= MAX_FILE
    entry = len(
        ProtectedList(
            (ProtectedGuest(longest[0], "f" * 128, Priority.DISABLED, 10**12, 10**9),)
        ).format()
    )
    assert entry * MAX_GUESTS <= MAX_FILE


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe\xff",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b"[" * 100_000,
        b'{"counter": ' + b"9" * 5000 + b"}",
        b'{"counter": 1, "counter": 2}',
        b'{"counter": NaN}',
        b" " * (MAX_FILE + 1),
    ],
    ids=lambda data: f"{data[:20]!r}",
)
def test_what_is_no_such_file_is_refused(kind: Any, data: bytes) -> None:
    with pytest.raises(DamagedFile, match=r"^on-ds1 has .*: remove it, and it is written anew"):
        kind.parse(data, "on-ds1")


def changed(content: Any, change: Callable[[Any], object]) -> bytes:
    parsed = json.loads(content.format())
    change(parsed)
    return json.dumps(parsed).encode()


@pytest.mark.parametrize(
    ("content", "change", "has"),
    [
        (Heartbeat(1), lambda f: f.update(counter=-1), "no number as counter"),
        (Heartbeat(1), lambda f: f.update(counter=True), "no number as counter"),
        (Heartbeat(1), lambda f: f.update(counter=1.0), "no number as counter"),
        (Heartbeat(1), lambda f: f.update(counter=1 << 63), "no number as counter"),
        (Heartbeat(1), lambda f: f.update(more=1), "no object of counter"),
        (PowerOn(True, ()), lambda f: f.update(isolated=1), "neither true nor false as isolated"),
        (PowerOn(True, ()), lambda f: f.update(guests="web"), "no list as guests"),
        (PowerOn(True, ()), lambda f: f.update(guests=["../web"]), "what is no name"),
        (PowerOn(True, ()), lambda f: f.update(guests=[{}]), "what is no name"),
        (
            PowerOn(True, ()),
            lambda f: f.update(guests=["web", "web"]),
            "a guest that is there twice",
        ),
        (PowerOn(True, ()), lambda f: f.update(guests=["a"] * 10_001), "more than 10000 guests"),
        (PoweredOff("host-1"), lambda f: f.update(host=""), "what is no name"),
        (PoweredOff("host-1"), lambda f: f.update(host=1), "no text as host"),
        (ProtectedList((WEB,)), lambda f: f["guests"].append(1), "no object of name, folder"),
        (ProtectedList((WEB,)), lambda f: f["guests"].append(f["guests"][0]), "a guest that is"),
        (ProtectedList((WEB,)), lambda f: f["guests"][0].update(folder="/etc"), "no path below"),
        (ProtectedList((WEB,)), lambda f: f["guests"][0].update(folder="a/../.."), "no path below"),
        (ProtectedList((WEB,)), lambda f: f["guests"][0].update(folder="a\0"), "no path below"),
        (ProtectedList((WEB,)), lambda f: f["guests"][0].update(folder="\ud800"), "no path below"),
        (
            ProtectedList((WEB,)),
            lambda f: f["guests"][0].update(folder="a" * 1025),
            "no path below",
        ),
        (ProtectedList((WEB,)), lambda f: f["guests"][0].update(priority="top"), "no priority as"),
        (ProtectedList((WEB,)), lambda f: f["guests"][0].pop("cpu"), "no object of name, folder"),
    ],
)
def test_a_field_that_cannot_be_is_refused(
    content: Any, change: Callable[[Any], object], has: str
) -> None:
    with pytest.raises(DamagedFile) as caught:
        type(content).parse(changed(content, change), "on-ds1")
    assert str(caught.value).startswith(f"on-ds1 has {has}")


@given(st.sampled_from(KINDS), st.binary(max_size=64))
def test_any_bytes_are_a_file_or_refused(kind: Any, data: bytes) -> None:
    with pytest.raises(DamagedFile):
        kind.parse(data, "on-ds1")


def test_where_they_are() -> None:
    assert str(files.directory("lab")) == ".vlockstep-ha/lab"
    assert files.heartbeat_file("host-9") == "host-9-hb"
    assert files.poweron_file("host-9") == "host-9-poweron"
    assert str(files.poweredoff_file("web")) == "poweredoff/web"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "-a", "a\n", "ä", "a" * 64])
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    makers = (files.directory, files.heartbeat_file, files.poweron_file, files.poweredoff_file)
    for make in makers:
        with pytest.raises(UsageError, match="is no name for a"):
            make(name)


def test_heartbeats_are_where_most_hosts_are_connected() -> None:
    connected = {
        "a": ["ds1", "ds2", "ds3"],
        "b": ["ds2", "ds3", "ds4"],
        "c": ["ds3", "ds4", "ds4"],
        "d": ["ds9"],
        "e": [],
    }
    assert heartbeat_datastores(connected) == {
        "a": ("ds3", "ds2"),
        "b": ("ds3", "ds2"),
        "c": ("ds3", "ds4"),
        "d": ("ds9",),
        "e": (),
    }
    assert heartbeat_datastores(connected, 3)["b"] == ("ds3", "ds2", "ds4")
