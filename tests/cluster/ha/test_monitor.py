"""One monitor, event by event."""

from __future__ import annotations

import pytest

from vlockstep.cluster.ha.actions import (
    Acquire,
    Action,
    Became,
    Declare,
    HostState,
    PingAddress,
    Release,
    Send,
    Watch,
)
from vlockstep.cluster.ha.messages import Candidate, Left, Master, Resigned, Slave
from vlockstep.cluster.ha.monitor import Monitor
from vlockstep.cluster.ha.states import Availability
from vlockstep.cluster.ha.timing import PROFILES
from vlockstep.protocol.timing import SECOND

A = Availability


class Driven:
    """`b`'s monitor, told the time in seconds."""

    def __init__(self, *, hosts: str = "ac", addresses: tuple[str, ...] = ("gateway",)) -> None:
        self.monitor = Monitor(
            "b",
            dict.fromkeys(hosts, ("ds1", "ds2")),
            datastores=("ds1", "ds2"),
            addresses=addresses,
            timing=PROFILES["vsphere55"],
        )
        self.now = 0.0
        self.did: list[Action] = self.monitor.start(0)

    def until(self, second: float) -> list[Action]:
        """A tick each second; what was asked for."""
        done = []
        while self.now < second:
            self.now += 1
            done += self.monitor.tick(int(self.now * SECOND))
        return done

    @property
    def time(self) -> int:
        return int(self.now * SECOND)


def test_it_begins_with_an_election() -> None:
    driven = Driven()
    assert driven.did == [Declare(False), Became(A.ELECTION, None)]
    assert driven.until(1) == [Send("a", Candidate(2, False)), Send("c", Candidate(2, False))]


def test_a_master_that_gets_the_first_other_host_is_not_isolated_before_it_has_looked() -> None:
    driven = Driven(hosts="")
    driven.until(100)
    driven.monitor.hosts_changed(driven.time, {"a": ("ds1",)})
    assert Became(A.ISOLATED, None) not in driven.until(104)
    assert Became(A.ISOLATED, None) in driven.until(106)


def test_a_host_alone_in_its_cluster_is_master_and_never_isolated() -> None:
    driven = Driven(hosts="")
    assert Became(A.MASTER, "b") in driven.until(15)
    assert not any(isinstance(action, PingAddress) for action in driven.until(100))
    assert driven.monitor.state is A.MASTER


def test_without_isolation_addresses_nobody_is_isolated() -> None:
    driven = Driven(addresses=())
    driven.until(100)
    assert driven.monitor.state is A.MASTER


def test_a_better_candidate_is_waited_for_as_long_as_it_is_heard() -> None:
    driven = Driven()
    for _ in range(40):
        driven.until(driven.now + 1)
        driven.monitor.received(driven.time, "c", Candidate(2, True))
    assert driven.monitor.state is A.ELECTION
    driven.until(49)
    assert driven.monitor.state is A.ELECTION
    driven.until(50)
    assert driven.monitor.state is A.MASTER


@pytest.mark.parametrize(
    ("host", "word"),
    [("a", Candidate(2, True)), ("c", Candidate(1, True)), ("c", Candidate(2, False))],
    ids=["lesser id", "fewer datastores", "does not hear"],
)
def test_a_lesser_candidate_is_not(host: str, word: Candidate) -> None:
    driven = Driven()
    for _ in range(15):
        driven.until(driven.now + 1)
        driven.monitor.received(driven.time, host, word)
    driven.until(16)
    assert driven.monitor.state is A.MASTER


def test_a_master_that_hears_it_is_joined_at_once() -> None:
    driven = Driven()
    assert driven.monitor.received(0, "a", Master(1, False)) == []
    assert driven.monitor.received(0, "a", Master(1, True)) == [
        Became(A.CONNECTED, "a"),
        Send("a", Slave(2, True)),
    ]


def test_of_two_masters_the_lesser_resigns() -> None:
    driven = Driven()
    driven.until(15)
    assert driven.monitor.received(driven.time, "c", Master(1, True)) == [
        HostState("c", A.PARTITIONED)
    ]
    assert driven.monitor.received(driven.time, "c", Master(2, False)) == []
    assert driven.monitor.received(driven.time, "c", Master(2, True)) == [
        Send("a", Resigned()),
        Send("c", Resigned()),
        Release("ds1"),
        Release("ds2"),
        Became(A.CONNECTED, "c"),
        Send("c", Slave(2, True)),
    ]


def test_who_takes_it_for_master_is_told_that_it_is_not() -> None:
    driven = Driven()
    assert driven.monitor.received(0, "a", Slave(2, True)) == [Send("a", Resigned())]


@pytest.mark.parametrize("message", [Resigned(), Left(), Candidate(2, True)])
def test_a_master_that_is_none_any_more_is_left_at_once(message: Resigned) -> None:
    driven = Driven()
    driven.monitor.received(0, "c", Master(2, True))
    assert driven.monitor.received(0, "a", message) == []
    assert driven.monitor.received(0, "c", message) == [Became(A.ELECTION, None)]


def test_who_is_not_of_the_cluster_is_not_heeded() -> None:
    driven = Driven()
    assert driven.monitor.received(0, "x", Master(9, True)) == []
    assert driven.monitor.host_answered(0, "x") == []
    assert driven.monitor.address_answered(0, "x") == []
    assert driven.monitor.storage_read(0, "x", "ds1", 1, False) == []


def test_a_lock_that_comes_too_late_is_released() -> None:
    driven = Driven()
    assert Acquire("ds1") in driven.until(15)
    driven.monitor.datastore_lost(driven.time, "ds2")
    assert driven.monitor.acquired(driven.time, "ds1") == []
    assert driven.monitor.acquired(driven.time, "ds2") == [Release("ds2")]
    assert driven.monitor.owned == {"ds1"}
    driven.monitor.received(driven.time, "c", Master(2, True))
    assert driven.monitor.acquired(driven.time, "ds1") == [Release("ds1")]
    assert driven.monitor.owned == set()


def test_a_lock_is_released_also_where_the_datastore_was_lost() -> None:
    """It may come back."""
    driven = Driven()
    driven.until(15)
    driven.monitor.datastore_lost(driven.time, "ds1")
    done = driven.monitor.received(driven.time, "c", Master(2, True))
    assert [a for a in done if isinstance(a, Release)] == [Release("ds1"), Release("ds2")]


def test_a_lock_that_was_lost_is_tried_again() -> None:
    driven = Driven(addresses=())
    driven.until(15)
    for datastore in ("ds1", "ds2"):
        driven.monitor.acquired(driven.time, datastore)
    assert not any(isinstance(action, Acquire) for action in driven.until(24))
    driven.monitor.ownership_lost(driven.time, "ds2")
    assert [a for a in driven.until(30) if isinstance(a, Acquire)] == [Acquire("ds2")] * 2


def test_a_datastore_that_comes_is_acquired_at_once_and_counts() -> None:
    driven = Driven()
    driven.until(15)
    assert driven.monitor.datastore_connected(driven.time, "ds3") == [Acquire("ds3")]
    assert Send("a", Master(3, False)) in driven.until(16)


def test_who_slept_looks_for_a_master() -> None:
    driven = Driven(addresses=())
    driven.until(15)
    assert driven.monitor.tick(25 * SECOND)[:1] != [Release("ds1")]
    woken = driven.monitor.received(36 * SECOND, "a", Slave(2, True))
    assert woken == [
        Release("ds1"),
        Release("ds2"),
        Became(A.ELECTION, None),
        Watch(frozenset()),
        Send("a", Resigned()),
    ]


def test_who_slept_during_the_election_begins_it_again() -> None:
    driven = Driven()
    driven.until(10)
    driven.now = 21
    driven.monitor.tick(driven.time)
    driven.until(35)
    assert driven.monitor.state is A.ELECTION
    driven.until(36)
    assert driven.monitor.state is A.MASTER


def test_maintenance_ends_all_and_everything_begins_anew() -> None:
    driven = Driven(addresses=())
    driven.until(40)
    assert set(driven.monitor.hosts.values()) == {A.UNINITIALIZED}
    done = driven.monitor.enter_maintenance(driven.time)
    assert done[:4] == [Send("a", Left()), Send("c", Left()), Release("ds1"), Release("ds2")]
    assert Became(A.UNINITIALIZED, None) in done
    assert driven.monitor.enter_maintenance(driven.time) == []
    assert driven.until(60) == []
    assert driven.monitor.received(driven.time, "a", Slave(2, True)) == []
    assert driven.monitor.hosts_changed(driven.time, {"a": ["ds1"]}) == []
    assert driven.monitor.address_answered(driven.time, "gateway") == []
    assert driven.monitor.start(driven.time) == [Declare(False), Became(A.ELECTION, None)]
    assert driven.until(61) == [Send("a", Candidate(2, False))]


@pytest.mark.parametrize("late", [False, True], ids=["before", "during"])
def test_what_said_that_it_leaves_before_an_election_may_be_back(late: bool) -> None:
    """It need not have told this host, if that was no master."""
    driven = Driven(addresses=())
    driven.monitor.received(0, "c", Master(2, True))
    if not late:
        driven.monitor.received(0, "a", Left())
    driven.until(12)
    assert driven.monitor.state is A.ELECTION
    if late:
        driven.monitor.received(driven.time, "a", Left())
    driven.until(25)
    assert driven.monitor.state is A.MASTER
    for _ in range(20):
        driven.until(driven.now + 1)
        driven.monitor.storage_read(driven.time, "a", "ds1", 1, False)
    assert driven.monitor.hosts["a"] is (A.UNINITIALIZED if late else A.DOWN)


def test_a_master_that_is_taken_out_of_the_cluster_is_left() -> None:
    driven = Driven()
    driven.monitor.received(0, "c", Master(2, True))
    assert driven.monitor.hosts_changed(0, {"a": ["ds1"]}) == [Became(A.ELECTION, None)]


def test_an_isolated_host_that_is_alone_in_its_cluster_now_is_not() -> None:
    driven = Driven()
    driven.until(20)
    assert driven.monitor.state is A.ISOLATED
    driven.monitor.hosts_changed(driven.time, {})
    driven.until(40)
    assert driven.monitor.state is A.MASTER


def read(
    driven: Driven, *, ds1: int | None, ds2: int | None, isolated: bool = False
) -> list[Action]:
    """Of `a`, with each tick; None: it cannot be read."""
    done = driven.until(driven.now + 1)
    for datastore, counter in (("ds1", ds1), ("ds2", ds2)):
        if counter is not None:
            done += driven.monitor.storage_read(driven.time, "a", datastore, counter, isolated)
    return [action for action in done if isinstance(action, HostState)]


def suspicious() -> Driven:
    """Master without isolation addresses, that never heard `a`."""
    driven = Driven(hosts="a", addresses=())
    driven.until(15)
    driven.until(18)
    return driven


def test_one_datastore_with_heartbeats_is_enough_to_live() -> None:
    driven = suspicious()
    states = [read(driven, ds1=1, ds2=second // 5) for second in range(60)]
    assert [s for s in states if s] == [[HostState("a", A.PARTITIONED)]]


def test_a_heartbeat_file_that_is_not_there_is_no_heartbeat() -> None:
    driven = suspicious()
    for _ in range(16):
        driven.until(driven.now + 1)
        last = driven.monitor.storage_read(driven.time, "a", "ds1", None, False)
    assert last == [HostState("a", A.DOWN)]


def test_a_heartbeat_that_was_seen_lately_counts_where_it_cannot_be_read_any_more() -> None:
    """The other datastore alone does not make the host one that is down, before its time."""
    driven = suspicious()
    for second in range(14):
        read(driven, ds1=second // 5, ds2=1)
    states = [(second, read(driven, ds1=None, ds2=1)) for second in range(14, 40)]
    assert [(second, state) for second, state in states if state] == [
        (25, [HostState("a", A.DOWN)])
    ]


def test_what_cannot_be_read_any_more_decides_nothing() -> None:
    """Its computer answered as long as it could be read that there are no heartbeats."""
    driven = suspicious()
    for _ in range(30):
        driven.monitor.host_answered(driven.time, "a")
        read(driven, ds1=1, ds2=1)
    assert driven.monitor.hosts == {"a": A.UNREACHABLE}
    for _ in range(10):
        driven.monitor.host_answered(driven.time, "a")
        read(driven, ds1=None, ds2=None)
    assert [state for _ in range(60) if (state := read(driven, ds1=None, ds2=None))] == []
    again = [read(driven, ds1=1, ds2=None) for _ in range(6)]
    assert again == [[]] * 5 + [[HostState("a", A.DOWN)]]


def test_what_a_host_declares_counts_where_it_wrote_last() -> None:
    driven = suspicious()
    states = []
    for second in range(30):
        states += driven.until(driven.now + 1)
        states += driven.monitor.storage_read(driven.time, "a", "ds1", 1, False)
        states += driven.monitor.storage_read(driven.time, "a", "ds2", second // 5, second > 20)
    assert [a for a in states if isinstance(a, HostState)] == [
        HostState("a", A.PARTITIONED),
        HostState("a", A.ISOLATED),
    ]


def test_time_never_goes_back() -> None:
    driven = Driven()
    driven.until(5)
    with pytest.raises(AssertionError, match="time goes back"):
        driven.monitor.tick(SECOND)
