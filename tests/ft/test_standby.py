"""What a secondary's NIC keeps of what it has received, against a model of it."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from net.memory_nic import MemoryNic

from vlockstep.ft.standby import StandbyNic, StandbyNics
from vlockstep.machine.bundled import open_image
from vlockstep.net.nic import MAX_FRAME
from vlockstep.net.station import Station
from vlockstep.protocol.timing import MILLISECOND, SECOND
from vlockstep.replay.entry import Entry, Kind
from vlockstep.sim.client import Client
from vlockstep.sim.simulation import Simulation

MAC = bytes.fromhex("020000000001")
OTHER = bytes.fromhex("020000000002")
START = 100 * SECOND
HORIZON = 2 * SECOND
LIMIT = 4096


def frame(number: int, size: int = 60, to: bytes = MAC) -> bytes:
    return (to + OTHER + b"\x88\xb5" + struct.pack("<H", number)).ljust(size, b".")


def read_all(nic: StandbyNic, limit: int = MAX_FRAME) -> list[bytes]:
    return list(iter(lambda: nic.read(limit), None))


def standby() -> tuple[MemoryNic, StandbyNic]:
    nic = MemoryNic()
    secondary = StandbyNic(Station(nic, MAC))
    secondary.stand_by()
    return nic, secondary


@dataclass
class Model:
    """Each logged frame is the earliest equal one that arrived and that no other was; or else the
    next one to arrive. Whatever is older than the horizon never was."""

    arrived: list[tuple[int, int]] = field(default_factory=list)
    ahead: list[tuple[int, int]] = field(default_factory=list)

    def collect(self, now: int, number: int) -> None:
        self._match(self.ahead, self.arrived, now, number)

    def logged(self, now: int, number: int) -> None:
        self._match(self.arrived, self.ahead, now, number)

    def kept(self, now: int) -> list[bytes]:
        return [frame(number) for when, number in self.arrived if now - when <= HORIZON]

    @staticmethod
    def _match(
        others: list[tuple[int, int]], own: list[tuple[int, int]], now: int, number: int
    ) -> None:
        for at, (when, other) in enumerate(others):
            if other == number and now - when <= HORIZON:
                del others[at]
                return
        own.append((now, number))


Step = tuple[str, int, int]
"""What, the number of the frame, and the time since the step before."""


def behaves_as_the_model(
    steps: list[Step], wait: int = 0, late: Sequence[int] = (), fresh: Sequence[int] = ()
) -> None:
    """`late` frames have come when the secondary goes live, `fresh` ones come after that."""
    nic, secondary = standby()
    model, now = Model(), START
    for what, number, elapsed in steps:
        now += elapsed
        if what == "arrives":
            nic.incoming.append(frame(number))
            secondary.collect(now)
            model.collect(now, number)
        else:
            secondary.logged(now, frame(number))
            model.logged(now, number)
    now += wait
    for number in late:
        nic.incoming.append(frame(number))
        model.collect(now, number)
    secondary.go_live(now)
    nic.incoming.extend(map(frame, fresh))
    kept = model.kept(now)
    assert secondary.waiting() == bool(kept or fresh)
    assert read_all(secondary) == kept + [frame(number) for number in fresh]
    assert not secondary.waiting()


def steps(numbers: int, elapsed: int) -> st.SearchStrategy[list[Step]]:
    times = st.integers(0, elapsed // MILLISECOND).map(lambda ms: ms * MILLISECOND)
    what = st.sampled_from(["arrives", "logged"])
    return st.lists(st.tuples(what, st.integers(1, numbers), times), max_size=40)


FEW = st.lists(st.integers(1, 4), max_size=4)


@given(steps(numbers=4, elapsed=SECOND // 20), FEW, FEW)
def test_the_guest_finds_what_was_not_logged_in_the_order_of_arrival(
    steps: list[Step], late: list[int], fresh: list[int]
) -> None:
    """Few that differ; all within the horizon."""
    behaves_as_the_model(steps, 0, late, fresh)


@given(st.permutations(range(30)), st.data())
def test_the_horizon_holds_for_frames_that_differ(order: list[int], data: st.DataObject) -> None:
    steps: list[Step] = []
    for number in order:
        time = data.draw(st.integers(0, 500)) * MILLISECOND
        again = data.draw(st.integers(0, 100)) * MILLISECOND
        first, *second = data.draw(st.permutations(["arrives", "logged"]))
        steps.append((first, number, time))
        if data.draw(st.booleans()):
            steps.append((second[0], number, again))
    behaves_as_the_model(steps, data.draw(st.integers(0, 3000)) * MILLISECOND)


@given(steps(numbers=2, elapsed=SECOND), st.integers(0, 3000))
@example([("arrives", 1, 0), ("logged", 1, 0), ("arrives", 1, SECOND)], 1001)
def test_the_horizon_holds_for_equal_frames(steps: list[Step], wait: int) -> None:
    """One that was logged takes no later one with it."""
    behaves_as_the_model(steps, wait * MILLISECOND)


@pytest.mark.parametrize(("age", "kept"), [(HORIZON, [frame(1)]), (HORIZON + 1, [])])
def test_the_horizon_is_two_seconds(age: int, kept: list[bytes]) -> None:
    nic, secondary = standby()
    nic.incoming.append(frame(1))
    secondary.collect(START)
    secondary.go_live(START + age)
    assert read_all(secondary) == kept


def test_no_more_than_the_limit_is_kept() -> None:
    nic, secondary = standby()
    for one in (sent := [frame(number) for number in range(LIMIT + 100)]):
        nic.incoming.append(one)
        secondary.collect(START)
    secondary.go_live(START)
    assert read_all(secondary) == sent[-LIMIT:]


def test_after_standing_by_nothing_old_is_left() -> None:
    nic, secondary = standby()
    nic.incoming.extend([frame(1), frame(2)])
    secondary.collect(START)
    secondary.logged(START, frame(3))
    secondary.go_live(START)
    assert secondary.read(MAX_FRAME) == frame(1)
    secondary.stand_by()
    nic.incoming.append(frame(3))
    secondary.collect(START + MILLISECOND)
    secondary.go_live(START + MILLISECOND)
    assert read_all(secondary) == [frame(3)]


def test_a_frame_that_is_longer_than_the_guest_takes_is_skipped() -> None:
    nic, secondary = standby()
    nic.incoming.extend([frame(1, 1514), frame(2, 60), frame(3, 61), frame(4, 14)])
    secondary.collect(START)
    secondary.go_live(START)
    nic.incoming.extend([frame(5, 61), frame(6, 60)])
    assert read_all(secondary, 60) == [frame(2, 60), frame(4, 14), frame(6, 60)]


def read(handle: int, data: bytes | None) -> Entry:
    """The entry of a guest that reads from a NIC."""
    return (Kind.NET_READ, 0, 0, (handle, data), b"")


def test_the_nics_of_a_guest_take_from_the_log_what_was_read() -> None:
    backends = {3: MemoryNic(), 5: MemoryNic()}
    nics = StandbyNics({handle: Station(nic, MAC) for handle, nic in backends.items()})
    assert not nics.collecting
    nics.stand_by()
    assert nics.collecting and list(nics.by_handle) == [3, 5]
    backends[3].incoming.extend([frame(1), frame(2)])
    backends[5].incoming.extend([frame(3)] + [frame(4)] * 300)
    nics.collect(START)
    text: Entry = (Kind.CONSOLE, 0, 0, frame(2), b"")
    nics.logged(START, [read(3, frame(1)), read(3, None), text, read(5, frame(3))])
    nics.go_live(START)
    assert not nics.collecting
    nics.logged(START, [read(3, frame(2))])  # its own, now
    assert read_all(nics.by_handle[3]) == [frame(2)]
    assert read_all(nics.by_handle[5]) == [frame(4)] * 300


@pytest.mark.parametrize("first", ["arrives", "logged"])
def test_a_frame_logged_for_one_nic_is_kept_for_the_other(first: str) -> None:
    """Both are on one network, where it was sent to all; the guest had read it from one."""
    backends = {3: MemoryNic(), 5: MemoryNic()}
    nics = StandbyNics({handle: Station(nic, MAC) for handle, nic in backends.items()})
    nics.stand_by()
    if first == "logged":
        nics.logged(START, [read(3, frame(1))])
    for backend in backends.values():
        backend.incoming.append(frame(1))
    nics.collect(START)
    if first == "arrives":
        nics.logged(START, [read(3, frame(1)), read(9, frame(1))])
    nics.go_live(START)
    assert read_all(nics.by_handle[3]) == []
    assert read_all(nics.by_handle[5]) == [frame(1)]


def test_a_guest_without_nics_collects_nothing() -> None:
    nics = StandbyNics({})
    nics.stand_by()
    assert not nics.collecting


def test_announce_sends_a_reverse_arp_request() -> None:
    """RFC 903, in the packet format of RFC 826."""
    nic = MemoryNic()
    StandbyNics({1: Station(nic, MAC)}).announce()
    (sent,) = nic.sent
    assert len(sent) == 60
    destination, source, kind = struct.unpack_from("!6s6sH", sent)
    assert (destination, source, kind) == (b"\xff" * 6, MAC, 0x8035)
    hardware, protocol, *sizes, operation = struct.unpack_from("!HHBBH", sent, 14)
    assert (hardware, protocol, sizes) == (1, 0x0800, [6, 4])
    assert operation == 3, "request reverse"
    assert struct.unpack_from("!6s4s6s4s", sent, 22) == (MAC, bytes(4), MAC, bytes(4))
    assert not any(sent[42:])


def test_a_guest_does_not_read_its_own_broadcasts_after_a_failover() -> None:
    """The network is a hub, on which the secondary hears what the primary announces."""
    with Simulation(open_image("tally"), ("--requests=3",)) as pair:
        client = Client(pair, 3)
        receive, heard = pair.on_frame, list[bytes]()

        def on_the_hub(frame: bytes) -> None:
            receive(frame)
            heard.append(frame)
            pair.after(MILLISECOND, lambda: pair.broadcast(frame))

        pair.on_frame = on_the_hub
        pair.run(lambda: len(client.replies) == 1)
        assert any(frame[0] & 1 for frame in heard)
        pair.crash()
        pair.run()
        assert (pair.secondary.state, len(client.replies)) == ("FINISHED", 3)
        read = [e[3][1] for e in pair.secondary.entries if isinstance(e[3], tuple)]
        assert not set(read) & set(heard)
