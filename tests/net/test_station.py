"""What a guest's NIC hears."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from net.memory_nic import MemoryNic

from vlockstep.net.nic import MAX_FRAME
from vlockstep.net.station import Station

MAC = bytes.fromhex("020000000001")
MACS = st.binary(min_size=6, max_size=6)


def frame(destination: str, payload: bytes = b"payload") -> bytes:
    return bytes.fromhex(destination.replace(":", "")) + bytes(6) + b"\x88\xb5" + payload


@pytest.mark.parametrize(
    ("destination", "heard"),
    [
        ("02:00:00:00:00:01", True),
        ("ff:ff:ff:ff:ff:ff", True),
        ("01:00:5e:00:00:01", True),
        ("33:33:00:00:00:01", True),
        ("03:00:00:00:00:01", True),
        ("02:00:00:00:00:02", False),
        ("00:00:00:00:00:01", False),
        ("00:00:00:00:00:00", False),
        ("fe:ff:ff:ff:ff:ff", False),
    ],
)
def test_frames_to_it_to_groups_and_to_all(destination: str, heard: bool) -> None:
    sent = frame(destination)
    assert Station(MemoryNic(sent), MAC).read(MAX_FRAME) == (sent if heard else None)


@given(st.lists(st.one_of(MACS, st.just(MAC))))
def test_what_is_for_others_is_passed_over(destinations: list[bytes]) -> None:
    frames = [frame(mac.hex(), bytes([n % 256])) for n, mac in enumerate(destinations)]
    station = Station(MemoryNic(*frames), MAC)
    heard = list(iter(lambda: station.read(MAX_FRAME), None))
    assert heard == [f for f in frames if f[:6] == MAC or f[0] % 2]


def test_the_shortest_frames() -> None:
    """A header and nothing else; and no longer than the guest takes."""
    own, long = frame(MAC.hex(), b""), frame(MAC.hex(), b"x")
    station = Station(MemoryNic(long, own), MAC)
    assert station.read(14) == own
    assert station.read(14) is None


@given(st.lists(st.sampled_from(["own", "group", "stranger", "self"]), max_size=8), st.data())
def test_waiting_tells_of_frames_for_it_alone(kinds: list[str], data: st.DataObject) -> None:
    """And takes none of them from who reads next, whatever else has come before and since."""
    nic = MemoryNic()
    station = Station(nic, MAC)
    expected: list[bytes] = []
    for number, kind in enumerate(kinds):
        sent = frame({"own": MAC.hex(), "stranger": "020000000002"}.get(kind, "f" * 12))
        source = MAC if kind == "self" else bytes(6)
        sent = sent[:6] + source + sent[12:] + bytes([number])
        nic.incoming.append(sent)
        expected += [sent] if kind in ("own", "group") else []
        if data.draw(st.booleans()):
            assert station.waiting() == bool(expected)
        if data.draw(st.booleans()):
            assert station.read(MAX_FRAME) == (expected.pop(0) if expected else None)
    assert station.waiting() == bool(expected)
    assert list(iter(lambda: station.read(MAX_FRAME), None)) == expected
    assert not station.waiting()


@pytest.mark.parametrize("look", [False, True])
def test_a_frame_too_long_for_the_guest_is_dropped_and_counted(look: bool) -> None:
    """Also if it was found waiting, before it was known how much the guest takes."""
    long, short = frame(MAC.hex(), b"x" * 50), frame(MAC.hex(), b"x")
    nic = MemoryNic(long, frame("020000000002", b"y"), short)
    station = Station(nic, MAC)
    if look:
        assert station.waiting()
    assert station.read(20) == short
    assert not station.waiting()
    counters = nic.counters
    assert (counters.received, counters.received_bytes) == (2, 15 + 15)
    assert counters.receive_dropped == 1


@pytest.mark.parametrize("destination", ["ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", MAC.hex()])
def test_it_does_not_hear_itself(destination: str) -> None:
    """What the guest's other replica has sent comes back on a hub."""
    echo = frame(destination)[:6] + MAC + frame(destination)[12:]
    station = Station(MemoryNic(echo), MAC)
    assert not station.waiting()
    assert station.read(MAX_FRAME) is None


def test_the_rest_is_the_nics_own() -> None:
    nic = MemoryNic(frame(MAC.hex()))
    station = Station(nic, MAC)
    assert station.counters is nic.counters
    assert station.descriptors() == (7, 8)
    assert station.waiting() and not station.connected()
    sent = frame("02:00:00:00:00:02")
    station.write(sent)
    assert (nic.sent, station.connected()) == ([sent], True)
    station.close()
    assert nic.closed
