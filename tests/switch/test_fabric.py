"""Where frames go."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlockstep.errors import UsageError
from vlockstep.net.nic import MAX_FRAME
from vlockstep.switch.fabric import REPLICAS, Fabric, PortId

A, B, C = (bytes((2, 0, 0, 0, 0, number)) for number in (1, 2, 3))
ALL = b"\xff" * 6
GROUP = b"\x01\0\x5e\0\0\1"
AGEING = 100


def frame(source: bytes, destination: bytes) -> bytes:
    return destination + source + b"\x08\0payload"


def fabric_of(*ports: str, **options: int) -> Fabric:
    fabric = Fabric(**{"ageing": AGEING} | options)
    for port in ports:
        fabric.add_port(port)
    return fabric


def pair() -> Fabric:
    """A guest with the address A at p and s, and two other ports."""
    fabric = fabric_of("x", "y")
    fabric.add_port("p", A, "guest")
    fabric.add_port("s", A, "guest")
    return fabric


@pytest.mark.parametrize("destination", [ALL, GROUP, B])
def test_to_all_others(destination: bytes) -> None:
    assert set(fabric_of("x", "y", "z").forward(0, "x", frame(A, destination))) == {"y", "z"}


def test_an_address_is_learned() -> None:
    fabric = fabric_of("x", "y", "z")
    fabric.forward(0, "x", frame(A, ALL))
    assert fabric.forward(1, "y", frame(B, A)) == ("x",)
    assert fabric.forward(2, "x", frame(A, B)) == ("y",)


def test_not_back_to_where_it_came_from() -> None:
    fabric = fabric_of("x", "y")
    fabric.forward(0, "x", frame(A, ALL))
    assert fabric.forward(1, "x", frame(B, A)) == ()


def test_an_address_that_moves() -> None:
    fabric = fabric_of("x", "y", "z")
    fabric.forward(0, "x", frame(A, ALL))
    fabric.forward(1, "y", frame(A, ALL))
    assert fabric.forward(2, "z", frame(B, A)) == ("y",)
    assert fabric.ports["y"].counters.moves == 1
    assert fabric.ports["x"].counters.moves == 0


def test_a_silent_address_is_forgotten() -> None:
    fabric = fabric_of("x", "y", "z")
    fabric.forward(0, "x", frame(A, ALL))
    assert fabric.forward(AGEING - 1, "y", frame(B, A)) == ("x",)
    assert set(fabric.forward(AGEING, "y", frame(B, A))) == {"x", "z"}


def test_an_address_that_is_heard_is_not_forgotten() -> None:
    fabric = fabric_of("x", "y", "z")
    for now in (0, AGEING - 1):
        fabric.forward(now, "x", frame(A, ALL))
    assert fabric.forward(AGEING + 1, "y", frame(B, A)) == ("x",)


def test_a_full_table_forgets_who_was_silent_longest() -> None:
    fabric = fabric_of("x", "y", "z", table_limit=2)
    fabric.forward(0, "x", frame(A, ALL))
    fabric.forward(1, "y", frame(B, ALL))
    fabric.forward(2, "x", frame(A, ALL))
    fabric.forward(3, "z", frame(C, ALL))
    assert len(fabric) == 2
    assert fabric.lookup(3, B) is None
    assert fabric.lookup(3, A) == "x"


def test_the_addresses_of_a_port_go_with_it() -> None:
    fabric = fabric_of("x", "y", "z")
    fabric.forward(0, "x", frame(A, ALL))
    fabric.remove_port("x")
    assert fabric.forward(1, "y", frame(B, A)) == ("z",)
    fabric.add_port("x")
    assert set(fabric.forward(2, "y", frame(B, A))) == {"x", "z"}


@pytest.mark.parametrize("heard_at", [None, "p", "s", "y"])
def test_both_ports_of_a_guest_get_what_is_for_it(heard_at: str | None) -> None:
    fabric = pair()
    if heard_at:
        fabric.forward(0, heard_at, frame(A, ALL))
    others = {heard_at} if heard_at == "y" else set()
    assert set(fabric.forward(1, "x", frame(B, A))) == {"p", "s"} | others


def test_a_guest_does_not_hear_itself() -> None:
    fabric = pair()
    fabric.forward(0, "s", frame(C, ALL))
    for destination in (ALL, GROUP, B):
        assert set(fabric.forward(1, "p", frame(A, destination))) == {"x", "y"}
    for destination in (A, C):
        assert fabric.forward(2, "p", frame(A, destination)) == ()


def test_one_port_of_a_guest_is_left() -> None:
    fabric = pair()
    fabric.forward(0, "p", frame(A, ALL))
    fabric.remove_port("p")
    assert fabric.forward(1, "x", frame(B, A)) == ("s",)
    fabric.remove_port("s")
    assert fabric.forward(2, "x", frame(B, A)) == ("y",)


def test_an_address_of_another_guest_is_refused() -> None:
    fabric = pair()
    with pytest.raises(UsageError, match=r"02:00:00:00:00:01 belongs.*give this one's NIC another"):
        fabric.add_port("q", A, "other")
    assert "q" not in fabric.ports
    fabric.add_port("q", B, "other")


def test_more_replicas_than_a_guest_may_have_are_refused() -> None:
    fabric = pair()
    for number in range(REPLICAS - 2):
        fabric.add_port(f"q{number}", A, "guest")
    with pytest.raises(UsageError, match=r"02:00:00:00:00:01 already.*give its NIC another"):
        fabric.add_port("q", A, "guest")
    fabric.remove_port("s")
    fabric.add_port("q", A, "guest")
    assert "q" in fabric.forward(1, "x", frame(B, A))


@pytest.mark.parametrize("mac", [ALL, GROUP, bytes(6)])
def test_an_address_that_no_nic_can_have(mac: bytes) -> None:
    with pytest.raises(UsageError, match="give the NIC another MAC address"):
        fabric_of("x").add_port("p", mac, "guest")


def test_too_many_ports() -> None:
    fabric = fabric_of("x", port_limit=2)
    fabric.add_port("p", A, "guest")
    with pytest.raises(UsageError, match="no more than 2 ports"):
        fabric.add_port("q", B, "other")
    fabric.add_port("an uplink always finds room")


@pytest.mark.parametrize(
    "bad",
    [b"", b"\0", frame(A, B)[:13], frame(A, B).ljust(MAX_FRAME + 1, b"\0"), frame(GROUP, B),
     frame(ALL, B)],
)  # fmt: skip
def test_frames_that_cannot_be(bad: bytes) -> None:
    fabric = fabric_of("x", "y")
    assert fabric.forward(0, "x", bad) == ()
    counters = fabric.ports["x"].counters
    assert (counters.malformed, counters.dropped, counters.received, len(fabric)) == (1, 1, 0, 0)


@pytest.mark.parametrize("size", [14, MAX_FRAME])
def test_frames_that_just_can_be(size: int) -> None:
    fabric = fabric_of("x", "y")
    assert fabric.forward(0, "x", frame(A, B).ljust(size, b"\0")[:size]) == ("y",)
    assert fabric.ports["x"].counters.received_bytes == size


def test_counters_go_on_when_a_port_comes_back() -> None:
    fabric = fabric_of("x", "y")
    fabric.forward(0, "x", frame(A, B))
    fabric.sent("y", 20)
    fabric.overflowed("y")
    kept = fabric.ports["y"].counters
    assert (kept.sent, kept.sent_bytes, kept.overflowed) == (1, 20, 1)
    fabric.remove_port("y")
    fabric.add_port("y", counters=kept)
    fabric.sent("y", 30)
    assert (kept.sent, kept.sent_bytes) == (2, 50)


@dataclass
class Model:
    """The same in the plainest way: all frames heard so far, and the ports."""

    ports: dict[PortId, bytes | None] = field(default_factory=dict)
    heard: list[tuple[int, bytes, PortId]] = field(default_factory=list)

    def targets(self, now: int, source: PortId, data: bytes) -> set[PortId]:
        destination, own = data[:6], self.ports[source]
        others = {p for p, mac in self.ports.items() if p != source and (mac is None or mac != own)}
        if destination[0] & 1:
            return others
        attached = {p for p, mac in self.ports.items() if mac == destination}
        if own == destination:
            return set()
        places = [(at, port) for at, mac, port in self.heard if mac == destination]
        learned = {port for at, port in places[-1:] if now - at < AGEING}
        if not attached and not learned:
            return others
        return (attached | learned) & others


addresses = st.sampled_from([A, B, C])
ports = st.sampled_from(["u", "v", "p", "s", "q"])
attachments = {"p": (A, "guest"), "s": (A, "guest"), "q": (B, "other")}
steps = st.lists(
    st.tuples(st.integers(0, 60), ports, addresses, addresses | st.sampled_from([ALL, GROUP]))
    | st.tuples(st.just(0), ports, st.none(), st.none()),
    max_size=60,
)


@given(steps)
def test_as_the_model_says(
    steps: list[tuple[int, str, bytes | None, bytes | None]],
) -> None:
    fabric, model, now = Fabric(AGEING), Model(), 0
    for passed, port, source, destination in steps:
        now += passed
        if source is None or destination is None:  # come or go
            if port in model.ports:
                fabric.remove_port(port)
                del model.ports[port]
                model.heard = [entry for entry in model.heard if _last(model, entry) != port]
            else:
                attach, guest = attachments.get(port, (None, ""))
                fabric.add_port(port, attach, guest)
                model.ports[port] = attach
        elif port in model.ports:
            data = frame(source, destination)
            model.heard.append((now, source, port))
            got = fabric.forward(now, port, data)
            assert port not in got
            assert len(got) == len(set(got))
            assert set(got) == model.targets(now, port, data)


def _last(model: Model, entry: tuple[int, bytes, PortId]) -> PortId:
    """Where the address of `entry` was heard last."""
    return [port for _, mac, port in model.heard if mac == entry[1]][-1]


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 30)), max_size=100))
def test_the_table_is_bounded(heard: list[tuple[int, int]]) -> None:
    fabric, now = fabric_of("x", "y", table_limit=5), 0
    for passed, number in heard:
        now += passed
        mac = bytes((2, 0, 0, 0, 1, number))
        fabric.forward(now, "x", frame(mac, ALL))
        assert len(fabric) <= 5
        assert fabric.lookup(now, mac) == "x"
