"""What happens to a cluster, and what its monitors make of it: who is master, which hosts live."""

from __future__ import annotations

from clusters import FOUR, MASTER, SHARED, Clock, cluster, each_profile

from vlockstep.cluster.ha.actions import Became, HostState, Ready, Respond
from vlockstep.cluster.ha.states import Availability
from vlockstep.cluster.ha.timing import Timing
from vlockstep.cluster.sim.simulation import Simulation

pytestmark = each_profile
A = Availability


def views(simulation: Simulation, master: str = MASTER) -> dict[str, Availability]:
    assert simulation.agents[master].monitor.state is A.MASTER
    return simulation.agents[master].monitor.hosts


def of_one(host: str, state: Availability, master: str = MASTER) -> dict[str, Availability]:
    """What its master says of all others if it says this of one."""
    return {name: A.CONNECTED for name in FOUR if name != master} | {host: state}


def owners(simulation: Simulation) -> set[str | None]:
    return {simulation.owner(datastore) for datastore in simulation.datastores}


def test_one_slave_loses_power_and_returns(timing: Timing) -> None:
    simulation, clock = cluster(timing)
    simulation.hosts["host-97"].crash()
    clock.until(60)
    assert views(simulation) == of_one("host-97", A.DOWN)
    simulation.hosts["host-97"].boot()
    clock.until(61)
    assert views(simulation) == of_one("host-97", A.CONNECTED)
    assert simulation.masters() == [MASTER]


def test_the_master_loses_power_and_returns_as_a_slave(timing: Timing) -> None:
    """The winner is the one with most datastores, and then the greatest id as text."""
    simulation, clock = cluster(timing)
    simulation.disconnect("host-98", "ds3")
    simulation.hosts[MASTER].crash()
    clock.until(60)
    assert simulation.masters() == ["host-97"]
    assert views(simulation, "host-97") == of_one(MASTER, A.DOWN, "host-97")
    simulation.hosts[MASTER].boot()
    clock.until(62)
    assert simulation.masters() == ["host-97"]
    assert views(simulation, "host-97") == of_one(MASTER, A.CONNECTED, "host-97")


def test_the_master_and_who_would_follow_it_die_together(timing: Timing) -> None:
    simulation, clock = cluster(timing)
    simulation.hosts[MASTER].crash()
    simulation.hosts["host-98"].crash()
    clock.until(60)
    assert simulation.masters() == ["host-97"]
    assert views(simulation, "host-97") == {
        "host-98": A.DOWN,
        MASTER: A.DOWN,
        "host-100": A.CONNECTED,
    }


def test_a_slave_loses_the_network_alone(timing: Timing) -> None:
    """Neither is it ever down, nor does it respond before its time."""
    simulation, clock = cluster(timing)
    simulation.network.unplug("host-97")
    clock.until(59)
    assert views(simulation) == of_one("host-97", A.ISOLATED)
    assert clock.asked("host-97", Respond) == []
    clock.until(200)
    assert views(simulation) == of_one("host-97", A.ISOLATED)
    assert len(clock.asked("host-97", Respond)) == 1


def test_the_network_is_back_before_the_response(timing: Timing) -> None:
    simulation, clock = cluster(timing)
    simulation.network.unplug("host-97")
    clock.until(50)
    simulation.network.plug("host-97")
    clock.until(52)
    assert views(simulation) == of_one("host-97", A.CONNECTED)
    clock.until(100)
    assert clock.asked("host-97", Respond) == []


def test_a_host_whose_isolation_address_answers_is_a_partition(timing: Timing) -> None:
    simulation, clock = cluster(timing)
    simulation.network.part({"host-97"}, set(FOUR) - {"host-97"})
    clock.until(100)
    assert simulation.masters() == ["host-97", MASTER]
    assert views(simulation) == of_one("host-97", A.PARTITIONED)
    assert set(views(simulation, "host-97").values()) == {A.PARTITIONED}
    assert owners(simulation) == {MASTER}
    assert clock.asked("host-97", Respond) == []


def test_the_master_is_isolated_and_returns_as_a_slave(timing: Timing) -> None:
    simulation, clock = cluster(timing)
    simulation.network.unplug(MASTER)
    clock.until(60)
    assert simulation.masters() == ["host-98"]
    assert views(simulation, "host-98") == of_one(MASTER, A.ISOLATED, "host-98")
    simulation.network.plug(MASTER)
    clock.until(62)
    assert simulation.masters() == ["host-98"]
    assert views(simulation, "host-98") == of_one(MASTER, A.CONNECTED, "host-98")


def test_all_lose_the_network(timing: Timing) -> None:
    """Nobody owns a datastore when they respond, so none of their guests is stopped."""
    simulation, clock = cluster(timing)
    for host in (*FOUR, "gateway"):
        simulation.network.unplug(host)
    for second in range(100):
        clock.until(second)
        if any(clock.asked(host, Respond) == [second] for host in FOUR):
            assert owners(simulation) == {None}
    assert set(simulation.states().values()) == {A.ISOLATED}
    simulation.network.heal()
    clock.until(120)
    assert simulation.masters() == [MASTER]
    clock.until(140)
    assert owners(simulation) == {MASTER}


def test_a_partition_has_two_masters_and_one_owner(timing: Timing) -> None:
    simulation, clock = cluster(timing)
    simulation.network.part({"host-97", "host-98"}, {MASTER, "host-100"})
    clock.until(100)
    assert simulation.masters() == ["host-98", MASTER]
    assert owners(simulation) == {MASTER}
    assert views(simulation) == {
        "host-97": A.PARTITIONED,
        "host-98": A.PARTITIONED,
        "host-100": A.CONNECTED,
    }
    assert views(simulation, "host-98") == {
        "host-97": A.CONNECTED,
        MASTER: A.PARTITIONED,
        "host-100": A.PARTITIONED,
    }
    simulation.network.heal()
    clock.until(103)
    assert simulation.masters() == [MASTER]
    assert views(simulation) == of_one("host-97", A.CONNECTED)


def test_the_master_that_owns_may_be_the_one_that_resigns(timing: Timing) -> None:
    simulation, clock = cluster(timing)
    simulation.hosts[MASTER].crash()
    clock.until(50)
    assert owners(simulation) == {"host-98"}
    simulation.network.part({"host-97", "host-98"}, {MASTER, "host-100"})
    simulation.hosts[MASTER].boot()
    clock.until(100)
    assert simulation.masters() == ["host-98", MASTER]
    assert owners(simulation) == {"host-98"}
    simulation.network.heal()
    clock.until(110)
    assert simulation.masters() == [MASTER]
    assert owners(simulation) == {MASTER}


def test_a_host_dies_in_the_partition_without_the_owner(timing: Timing) -> None:
    """Both masters find out, the owner over the datastores alone."""
    simulation, clock = cluster(timing)
    simulation.network.part({"host-97", "host-98"}, {MASTER, "host-100"})
    clock.until(100)
    assert owners(simulation) == {MASTER}
    simulation.hosts["host-97"].crash()
    clock.until(125)
    assert views(simulation)["host-97"] is A.DOWN
    assert views(simulation, "host-98")["host-97"] is A.DOWN


def test_a_host_loses_storage_alone(timing: Timing) -> None:
    simulation, clock = cluster(timing)
    simulation.disconnect("host-97", *SHARED)
    clock.until(100)
    assert views(simulation) == of_one("host-97", A.CONNECTED)
    assert clock.judged(MASTER, "host-97") == []


def test_a_host_loses_network_and_storage(timing: Timing) -> None:
    simulation, clock = cluster(timing)
    simulation.disconnect("host-97", *SHARED)
    simulation.network.unplug("host-97")
    clock.until(60)
    assert clock.judged(MASTER, "host-97") == [(18, A.DOWN)]
    simulation.network.plug("host-97")
    clock.until(62)
    assert views(simulation) == of_one("host-97", A.CONNECTED)


def test_an_agent_dies_alone(timing: Timing) -> None:
    simulation, clock = cluster(timing)
    simulation.agents["host-97"].kill()
    clock.until(60)
    assert clock.judged(MASTER, "host-97") == [(10, A.UNREACHABLE)]
    simulation.hosts["host-97"].crash()
    clock.until(100)
    assert views(simulation) == of_one("host-97", A.DOWN)


def test_a_cluster_is_switched_on_one_host_after_the_other(timing: Timing) -> None:
    simulation, _ = cluster(timing)
    for host in simulation.hosts.values():
        host.crash()
    simulation.run(100 * timing.heartbeat)
    clock = Clock(simulation)
    for number, host in enumerate(FOUR):
        clock.until(4 * number)
        simulation.hosts[host].boot()
    clock.until(60)
    assert simulation.masters() == [MASTER]
    assert clock.became(MASTER)[1] == (4 * FOUR.index(MASTER) + 15, A.MASTER)
    assert clock.asked(MASTER, Ready) == [4 * FOUR.index(MASTER) + 25]
    assert views(simulation) == of_one("host-97", A.CONNECTED)


def test_a_cluster_is_switched_on_without_a_network(timing: Timing) -> None:
    """Nobody is ready to start a guest, nor says that another is down."""
    simulation = Simulation(dict.fromkeys(FOUR, SHARED), timing)
    for host in (*FOUR, "gateway"):
        simulation.network.unplug(host)
    simulation.boot()
    clock = Clock(simulation)
    clock.until(100)
    assert set(simulation.states().values()) == {A.ISOLATED}
    assert owners(simulation) == {None}
    for host in FOUR:
        assert simulation.log(host, Ready, HostState) == []
    simulation.network.heal()
    clock.until(130)
    assert simulation.masters() == [MASTER]
    assert clock.asked(MASTER, Ready) == [100 + 1 + 25]


def test_the_master_cannot_read_what_a_host_writes(timing: Timing) -> None:
    """It decides nothing by what it saw before, and goes on when it can."""
    simulation, clock = cluster(timing)
    simulation.hosts["host-97"].crash()
    clock.until(17)
    for datastore in simulation.datastores.values():
        datastore.away.add(MASTER)
    clock.until(30)
    for datastore in simulation.datastores.values():
        datastore.away.remove(MASTER)
    assert clock.judged(MASTER, "host-97") == []
    assert simulation.agents[MASTER].monitor.state is A.MASTER
    clock.until(36)
    assert [state for _, state in clock.judged(MASTER, "host-97")] == [A.DOWN]


def test_a_short_loss_of_storage_costs_the_master_no_lock(timing: Timing) -> None:
    simulation, clock = cluster(timing)
    for datastore in simulation.datastores.values():
        datastore.away.add(MASTER)
    clock.until(9)
    assert owners(simulation) == {MASTER}
    for datastore in simulation.datastores.values():
        datastore.away.remove(MASTER)
    clock.until(50)
    assert owners(simulation) == {MASTER}
    assert simulation.agents[MASTER].owned == set(SHARED)


def test_a_master_that_loses_all_datastores_for_good_resigns(timing: Timing) -> None:
    simulation, clock = cluster(timing)
    simulation.disconnect(MASTER, *SHARED)
    clock.until(40)
    assert simulation.masters() == ["host-98"]
    assert views(simulation, "host-98") == of_one(MASTER, A.CONNECTED, "host-98")
    assert owners(simulation) == {"host-98"}


def test_a_master_goes_into_maintenance_and_comes_back(timing: Timing) -> None:
    simulation, clock = cluster(timing)
    simulation.enter_maintenance(MASTER)
    assert owners(simulation) == {None}
    clock.until(60)
    assert simulation.masters() == ["host-98"]
    assert clock.became("host-98") == [(15, A.MASTER)]
    assert MASTER not in views(simulation, "host-98")
    simulation.leave_maintenance(MASTER)
    clock.until(63)
    assert views(simulation, "host-98") == of_one(MASTER, A.CONNECTED, "host-98")


def test_a_slave_in_maintenance_is_not_taken_for_failed(timing: Timing) -> None:
    """Also before the others are told that it is."""
    simulation, clock = cluster(timing)
    monitor = simulation.agents["host-97"].monitor
    simulation.agents["host-97"].event(type(monitor).enter_maintenance)
    clock.until(60)
    assert views(simulation) == of_one("host-97", A.UNINITIALIZED)
    simulation.agents["host-97"].event(type(monitor).start)
    clock.until(62)
    assert views(simulation) == of_one("host-97", A.CONNECTED)


def test_a_host_is_added_and_one_removed(timing: Timing) -> None:
    simulation, clock = cluster(timing)
    heartbeats = simulation.heartbeats.pop("host-97")
    simulation.hosts["host-97"].crash()
    simulation.tell_hosts()
    clock.until(60)
    assert set(views(simulation)) == {"host-98", "host-100"}
    simulation.heartbeats["host-97"] = heartbeats
    simulation.tell_hosts()
    clock.until(79)
    assert views(simulation) == of_one("host-97", A.DOWN)
    simulation.hosts["host-97"].boot()
    clock.until(82)
    assert views(simulation) == of_one("host-97", A.CONNECTED)


def test_a_host_that_is_removed_alive_has_nothing_to_say(timing: Timing) -> None:
    """It stays by itself, and owns nothing."""
    simulation, clock = cluster(timing)
    del simulation.heartbeats[MASTER]
    simulation.tell_hosts()
    clock.until(100)
    assert set(simulation.agents["host-98"].monitor.hosts) == {"host-97", "host-100"}
    assert simulation.agents["host-98"].monitor.state is A.MASTER
    assert simulation.agents["host-97"].monitor.master == "host-98"


def test_a_frozen_master_does_nothing_with_what_it_knew(timing: Timing) -> None:
    """Others have elected when it goes on; it says nothing of any host, and owns nothing."""
    simulation, clock = cluster(timing)
    simulation.hosts[MASTER].freeze()
    clock.until(60)
    assert simulation.masters() == ["host-98"]
    assert views(simulation, "host-98") == of_one(MASTER, A.DOWN, "host-98")
    simulation.hosts[MASTER].thaw()
    assert simulation.agents[MASTER].owned == set()
    clock.until(100)
    assert simulation.masters() == ["host-98"]
    assert [state for _, state in clock.became(MASTER)] == [A.ELECTION, A.CONNECTED]
    assert clock.asked(MASTER, HostState) == []


def test_a_master_that_stood_still_shortly_goes_on(timing: Timing) -> None:
    simulation, clock = cluster(timing)
    simulation.hosts[MASTER].freeze()
    clock.until(9)
    simulation.hosts[MASTER].thaw()
    clock.until(60)
    assert views(simulation) == of_one("host-97", A.CONNECTED)
    assert all(clock.asked(host, Became) == [] for host in FOUR)


def test_a_link_with_one_direction_is_none(timing: Timing) -> None:
    """The slave is heard, but hears nobody: no one takes it for a slave, nor for dead."""
    simulation, clock = cluster(timing)
    for host in set(FOUR) - {"host-97"}:
        simulation.network.cut(host, "host-97")
    clock.until(100)
    assert simulation.masters() == ["host-97", MASTER]
    assert views(simulation) == of_one("host-97", A.UNREACHABLE)
    simulation.network.heal()
    clock.until(103)
    assert simulation.masters() == [MASTER]
    assert views(simulation) == of_one("host-97", A.CONNECTED)
