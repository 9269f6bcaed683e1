"""When a failure is found, in seconds of vSphere 5.5, and a twentieth of that."""

from __future__ import annotations

from clusters import FOUR, MASTER, cluster, each_profile

from vlockstep.cluster.ha.actions import Cancel, PingAddress, PingHost, Ready, Respond, Watch
from vlockstep.cluster.ha.states import Availability
from vlockstep.cluster.ha.timing import Timing

pytestmark = each_profile
A = Availability


def test_a_slave_dies(timing: Timing) -> None:
    simulation, clock = cluster(timing)
    simulation.hosts["host-97"].crash()
    clock.until(30)
    assert clock.asked(MASTER, Watch) == [3]
    assert clock.asked(MASTER, PingHost)[0] == 10
    assert clock.judged(MASTER, "host-97") == [(18, A.DOWN)]


def test_a_slave_dies_that_has_no_heartbeat_datastores(timing: Timing) -> None:
    simulation, clock = cluster(timing, datastores=())
    simulation.hosts["host-97"].crash()
    clock.until(30)
    assert clock.judged(MASTER, "host-97") == [(15, A.DOWN)]


def test_the_master_dies(timing: Timing) -> None:
    simulation, clock = cluster(timing)
    simulation.hosts[MASTER].crash()
    clock.until(60)
    assert clock.became("host-98") == [(10, A.ELECTION), (25, A.MASTER)]
    for host in ("host-97", "host-100"):
        assert clock.became(host) == [(10, A.ELECTION), (25, A.CONNECTED)]
        assert clock.judged("host-98", host) == [(25, A.ELECTION), (25, A.CONNECTED)]
    assert clock.asked("host-98", Ready) == [35]
    assert clock.judged("host-98", MASTER) == [(35, A.DOWN)]


def test_a_slave_is_isolated(timing: Timing) -> None:
    simulation, clock = cluster(timing)
    simulation.network.unplug("host-97")
    clock.until(90)
    assert clock.became("host-97") == [(10, A.ELECTION), (25, A.MASTER), (30, A.ISOLATED)]
    assert clock.asked("host-97", PingAddress)[0] == 25
    assert clock.asked("host-97", Respond) == [60]
    assert clock.judged(MASTER, "host-97") == [(15, A.PARTITIONED), (30, A.ISOLATED)]


def test_the_master_is_isolated(timing: Timing) -> None:
    simulation, clock = cluster(timing)
    assert {simulation.owner(datastore) for datastore in simulation.datastores} == {MASTER}
    simulation.network.unplug(MASTER)
    clock.until(5)
    assert clock.became(MASTER) == [(5, A.ISOLATED)]
    assert {simulation.owner(datastore) for datastore in simulation.datastores} == {None}
    clock.until(90)
    assert clock.asked(MASTER, Respond) == [35]
    assert clock.became("host-98") == [(10, A.ELECTION), (25, A.MASTER)]
    assert clock.judged("host-98", MASTER) == [(35, A.ISOLATED)]
    assert {simulation.owner(datastore) for datastore in simulation.datastores} == {"host-98"}


def test_one_answer_ends_isolation(timing: Timing) -> None:
    """Before the response is due; the host is a partition then."""
    simulation, clock = cluster(timing)
    simulation.network.unplug("host-97")
    clock.until(50)
    simulation.network.plug("host-97")
    simulation.network.part({"host-97", "gateway"}, set(FOUR) - {"host-97"})
    clock.until(100)
    assert clock.asked("host-97", Respond) == []
    assert clock.asked("host-97", Cancel) == [51]
    assert clock.became("host-97")[-3:] == [(30, A.ISOLATED), (51, A.ELECTION), (66, A.MASTER)]


def test_one_word_ends_isolation(timing: Timing) -> None:
    """Even of a host that does not hear this one."""
    simulation, clock = cluster(timing)
    simulation.network.unplug("host-97")
    clock.until(50)
    simulation.network.heal()
    simulation.network.part({"host-97"}, {"gateway"}, set(FOUR) - {"host-97", MASTER})
    simulation.network.cut("host-97", MASTER)
    clock.until(100)
    assert clock.asked("host-97", Respond) == []
    assert clock.asked("host-97", Cancel) == [51]


def test_a_host_that_a_new_master_never_heard_has_all_the_time(timing: Timing) -> None:
    simulation, clock = cluster(timing)
    simulation.hosts[MASTER].crash()
    simulation.hosts["host-97"].crash()
    clock.until(90)
    assert clock.judged("host-98", MASTER) == [(35, A.DOWN)]
    assert clock.judged("host-98", "host-97") == [(25 + 18, A.DOWN)]


def test_a_candidate_dies_during_the_election(timing: Timing) -> None:
    """It was to win: the others wait until it is silent for long, and then judge it as any."""
    simulation, clock = cluster(timing)
    simulation.hosts[MASTER].crash()
    clock.until(20)
    simulation.hosts["host-98"].crash()
    clock.until(90)
    assert clock.became("host-97") == [(10, A.ELECTION), (30, A.MASTER)]
    assert clock.judged("host-97", MASTER) == [(40, A.DOWN)]
    assert clock.judged("host-97", "host-98") == [(45, A.DOWN)]
