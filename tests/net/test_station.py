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
