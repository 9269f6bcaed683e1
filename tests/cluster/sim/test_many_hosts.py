"""A cluster as large as they come: hosts that fail are dealt with as in a small one."""

from __future__ import annotations

import pytest

from vlockstep.cluster.guestfile import GuestFile
from vlockstep.cluster.records import ClusterRecord, HostRecord
from vlockstep.cluster.sim.managed import Conditions, GuestSetting, ManagedCluster
from vlockstep.cluster.sim.settled import unsettled

SECOND = 1_000_000_000
DATASTORES = {"ds1": "/ds1", "ds2": "/ds2"}


def cluster_of(hosts: int) -> ManagedCluster:
    """With as many guests as hosts, a tenth of them protected. Hosts come by and by, to a master
    that is there already."""
    names = [f"h{number:04}" for number in range(hosts)]
    made = ManagedCluster(
        Conditions(
            {
                name: HostRecord(
                    name, name, f"tcp://{name}", name, 10_000, 8192, DATASTORES, ("default",)
                )
                for name in names
            },
            {
                f"g{number:04}": GuestSetting(
                    f"ds{number % 2 + 1}", GuestFile("simulated", memory=512, ft=number % 10 == 0)
                )
                for number in range(hosts)
            },
            config=ClusterRecord("large", "1", profile="vsphere55", fence=20_000),
            output_interval=5 * SECOND,
        )
    )
    made.hosts[names[-1]].boot()
    made.run(20 * SECOND)
    for number, name in enumerate(names[:-1]):
        made.hosts[name].boot()
        if number % 50 == 49:
            made.run(SECOND // 5)
    made.run(60 * SECOND)
    return made


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("hosts", [100])
def test_many_hosts_lose_a_twentieth_at_once(hosts: int) -> None:
    cluster = cluster_of(hosts)
    assert not list(unsettled(cluster))
    for name in sorted(cluster.hosts)[: hosts // 20]:
        cluster.hosts[name].crash()
    cluster.run(90 * SECOND)
    assert not cluster.witness.violations
    assert not list(unsettled(cluster))
