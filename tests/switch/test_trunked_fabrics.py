"""Where frames go in port groups, and through trunks."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlockstep.errors import UsageError
from vlockstep.switch import fabric as fabrics
from vlockstep.switch.fabric import Announcement, Fabric, PortId

A, B, C = (bytes((2, 0, 0, 0, 0, number)) for number in (1, 2, 3))
ALL = b"\xff" * 6
Address = tuple[bytes, bytes]
"""The name of a port group, and a MAC address in it."""
BLUE, RED = b"blue", b"red"


def frame(source: bytes, destination: bytes) -> bytes:
    return destination + source + b"\x08\0payload"


# Port groups


def two_groups() -> Fabric:
    fabric = Fabric()
    for port in ("x", "y"):
        fabric.add_port(port)
    for port in ("u", "v"):
        fabric.add_port(port, group=BLUE)
    fabric.add_trunk("t")
    return fabric


def test_frames_do_not_leave_their_group() -> None:
    fabric = two_groups()
    assert set(fabric.forward(0, "x", frame(A, ALL))) == {"y", "t"}
    assert set(fabric.forward(0, "u", frame(B, ALL), BLUE)) == {"v", "t"}
    assert set(fabric.forward(0, "u", frame(B, A), BLUE)) == {"v", "t"}
    assert set(fabric.forward(0, "t", frame(C, ALL), BLUE)) == {"u", "v"}
    assert set(fabric.forward(0, "t", frame(C, ALL))) == {"x", "y"}
    assert fabric.forward(0, "t", frame(C, ALL), RED) == ()


def test_an_address_in_two_groups() -> None:
    fabric = two_groups()
    fabric.add_port("p", A, "guest")
    fabric.add_port("q", A, "other guest", group=BLUE)
    assert fabric.forward(0, "x", frame(B, A)) == ("p",)
    assert fabric.forward(0, "u", frame(B, A), BLUE) == ("q",)
    fabric.forward(0, "v", frame(C, ALL), BLUE)
    assert fabric.lookup(0, C, BLUE) == "v"
    assert fabric.lookup(0, C) is None


def test_a_trunk_passes_on_groups_that_nobody_here_is_in() -> None:
    fabric = two_groups()
    fabric.add_trunk("other")
    assert fabric.forward(0, "t", frame(A, ALL), RED) == ("other",)
    assert fabric.forward(0, "other", frame(B, A), RED) == ("t",)
    fabric.remove_port("t")
    assert fabric.forward(0, "other", frame(B, A), RED) == ()


# Replicas behind trunks


def test_what_is_for_a_guest_goes_to_its_replicas_behind_trunks() -> None:
    fabric = Fabric()
    fabric.add_port("x")
    for trunk in ("t", "u", "v"):
        fabric.add_trunk(trunk)
    fabric.attach("t", b"", A, "guest")
    fabric.attach("u", b"", A, "guest")
    assert fabric.forward(0, "x", frame(B, A)) == ("t", "u")
    assert fabric.forward(0, "t", frame(B, A)) == ("u",)
    fabric.forward(0, "u", frame(A, ALL))
    assert fabric.forward(0, "x", frame(B, A)) == ("t", "u")
    fabric.detach("t", b"", A)
    assert fabric.forward(0, "x", frame(B, A)) == ("u",)
    fabric.remove_port("u")
    assert set(fabric.forward(0, "x", frame(B, A))) == {"t", "v"}


def test_a_guest_does_not_hear_its_replica_behind_a_trunk() -> None:
    fabric = Fabric()
    fabric.add_port("s", A, "guest")
    fabric.add_port("y", B, "other")
    fabric.add_trunk("t")
    fabric.attach("t", b"", A, "guest")
    assert fabric.forward(0, "t", frame(A, ALL)) == ("y",)
    assert fabric.forward(0, "t", frame(A, C)) == ("y",)
    assert fabric.forward(0, "t", frame(A, A)) == ()
    assert fabric.forward(0, "t", frame(A, B)) == ("y",)


def test_trunks_are_told_whose_replicas_are_behind_this_switch() -> None:
    fabric = Fabric()
    fabric.add_port("p", A, "guest")
    fabric.add_trunk("t")
    fabric.add_trunk("u")
    both = {Announcement("t", b"", A, "guest"), Announcement("u", b"", A, "guest")}
    assert set(fabric.announcements()) == both
    assert not fabric.changed
    fabric.add_port("s", A, "guest")
    fabric.attach("t", b"", A, "guest")
    assert fabric.announcements() == []
    fabric.remove_port("p")
    fabric.remove_port("s")
    assert fabric.announcements() == [Announcement("t", b"", A, None)]
    fabric.remove_port("t")
    assert fabric.announcements() == [Announcement("u", b"", A, None)]
    fabric.add_trunk("t")
    assert fabric.announcements() == []


def test_an_address_of_a_guest_behind_a_trunk_is_refused() -> None:
    fabric = Fabric()
    fabric.add_trunk("t")
    assert fabric.attach("t", b"", A, "guest") is None
    with pytest.raises(UsageError, match=r"02:00:00:00:00:01 belongs to another guest.*\(guest\)"):
        fabric.add_port("q", A, "other")
    fabric.add_port("s", A, "guest")
    fabric.add_port("q", A, "other", group=BLUE)
    fabric.detach("t", b"", A)
    with pytest.raises(UsageError, match="belongs to another guest"):
        fabric.add_port("r", A, "other")


def test_two_guests_with_one_address_that_met_later() -> None:
    fabric = Fabric()
    fabric.add_port("p", A, "guest")
    fabric.add_trunk("t")
    fabric.add_trunk("u")
    fabric.announcements()
    assert fabric.attach("t", b"", A, "other") == "guest"
    assert fabric.announcements() == [], "who is behind p is told already"
    fabric.remove_port("p")
    assert set(fabric.announcements()) == {
        Announcement("t", b"", A, None),
        Announcement("u", b"", A, "other"),
    }
    assert fabric.attach("t", b"", A, "third") is None
    assert fabric.announcements() == [Announcement("u", b"", A, "third")]


def test_what_trunks_tell_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fabrics, "REMOTE_LIMIT", 3)
    fabric = Fabric()
    for trunk in ("t", "u"):
        fabric.add_trunk(trunk)
    for number in range(3):
        fabric.attach("tu"[number % 2], b"%d" % number, A, "guest")
    fabric.attach("t", b"more", A, "guest")
    assert fabric.ports["t"].counters.overflowed == 1
    assert fabric.attached(b"more") == set()
    fabric.detach("t", b"more", A)
    fabric.remove_port("u")
    fabric.attach("t", b"more", A, "guest")
    assert fabric.attached(b"more") == {A}


@pytest.mark.parametrize("mac", [ALL, b"\x01\0\x5e\0\0\1", bytes(6)])
def test_addresses_that_no_nic_behind_a_trunk_can_have(mac: bytes) -> None:
    fabric = Fabric()
    fabric.add_trunk("t")
    assert fabric.attach("t", b"", mac, "guest") is None
    assert fabric.ports["t"].counters.malformed == 1
    assert not fabric.changed


class Network:
    """Fabrics that are a tree. A trunk is called as the number of the fabric at its other end;
    what they announce arrives when `settle` is called."""

    def __init__(self, parents: list[int | None]) -> None:
        self.fabrics = [Fabric() for _ in parents]
        for number, parent in enumerate(parents):
            if parent is not None:
                self.link(number, parent)
        self.macs: dict[tuple[int, PortId], Address] = {}
        self._names = itertools.count()

    def link(self, one: int, other: int) -> None:
        self.fabrics[one].add_trunk(f"{other}")
        self.fabrics[other].add_trunk(f"{one}")

    def cut(self, one: int, other: int) -> None:
        self.fabrics[one].remove_port(f"{other}")
        self.fabrics[other].remove_port(f"{one}")

    def settle(self) -> None:
        while any(fabric.changed for fabric in self.fabrics):
            for number, fabric in enumerate(self.fabrics):
                for trunk, group, mac, guest in fabric.announcements():
                    assert isinstance(trunk, str)
                    told = self.fabrics[int(trunk)]
                    if guest is None:
                        told.detach(f"{number}", group, mac)
                    else:
                        assert told.attach(f"{number}", group, mac, guest) is None

    def add(self, number: int, address: Address) -> PortId:
        port = f"port {next(self._names)}"
        group, mac = address
        self.fabrics[number].add_port(port, mac, f"guest {mac.hex()} {group!r}", group=group)
        self.macs[number, port] = address
        return port

    def remove(self, number: int, port: PortId) -> None:
        self.fabrics[number].remove_port(port)
        del self.macs[number, port]

    def send(self, number: int, port: PortId, data: bytes, group: bytes) -> Counter[PortId]:
        """How often it arrives at each port."""
        arrived: Counter[PortId] = Counter()
        underway = [(number, port)]
        while underway:
            at, source = underway.pop()
            for target in self.fabrics[at].forward(0, source, data, group):
                if (at, target) in self.macs:
                    arrived[target] += 1
                else:
                    assert isinstance(target, str)
                    underway.append((int(target), f"{at}"))
        return arrived


@st.composite
def trees(draw: st.DrawFn) -> list[int | None]:
    count = draw(st.integers(1, 6))
    return [None, *(draw(st.integers(0, number - 1)) for number in range(1, count))]


numbers = st.integers(0, 5)
addresses = st.tuples(st.sampled_from([b"", BLUE]), st.sampled_from([A, B, C]))
changes = st.lists(st.tuples(st.sampled_from(["add", "remove", "cut"]), numbers, addresses))


@given(trees(), changes, st.lists(st.tuples(numbers, addresses)))
def test_each_replica_gets_what_is_for_its_guest_once(
    parents: list[int | None],
    changes: list[tuple[str, int, Address]],
    broadcasts: list[tuple[int, Address]],
) -> None:
    network, count = Network(parents), len(parents)
    for what, number, address in changes:
        number %= count
        here = [port for at, port in network.macs if at == number]
        parent = parents[number]
        if what == "add":
            if sum(found == address for found in network.macs.values()) < fabrics.REPLICAS:
                network.add(number, address)
        elif what == "remove" and here:
            network.remove(number, here[0])
        elif what == "cut" and parent is not None:
            network.cut(number, parent)
            network.link(number, parent)
        network.settle()
    for number, address in broadcasts:
        for (at, port), mac in list(network.macs.items()):
            if (at, mac) == (number % count, address):
                network.send(at, port, frame(mac[1], ALL), mac[0])
    for (at, port), (group, own) in network.macs.items():
        others = {p for (_, p), where in network.macs.items() if where == (group, own)}
        for destination in (A, B, C):
            wanted = [p for (_, p), where in network.macs.items() if where == (group, destination)]
            arrived = network.send(at, port, frame(own, destination), group)
            if destination == own:
                assert not arrived
            elif wanted:
                assert arrived == Counter(wanted)
        everybody = [p for (_, p), where in network.macs.items() if where[0] == group]
        arrived = network.send(at, port, frame(own, ALL), group)
        assert arrived == Counter(p for p in everybody if p not in others)
