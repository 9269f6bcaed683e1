"""Admission control: what is refused, with the numbers, and what is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vlockstep.cluster.ha.admission import (
    FailoverHosts,
    Percentage,
    Policy,
    Required,
    Slots,
    refusal,
)
from vlockstep.cluster.model import Allocation, Cluster, Guest, Host, Replica, Role
from vlockstep.errors import UsageError


def guest(name: str, cpu: float = 0, memory: float = 0, **more: object) -> Guest:
    return replace(
        Guest(name, 4096, cpu=Allocation(reservation=cpu), ram=Allocation(reservation=memory)),
        **{"overhead": 0, **more},
    )


def cluster(hosts: list[Host], *guests: Guest) -> Cluster:
    """All guests run on the first host: where they run is of no matter here."""
    placed = {Replica(g.name, role): hosts[0].name for g in guests for role in roles(g)}
    return Cluster({h.name: h for h in hosts}, {g.name: g for g in guests}, placed)


def roles(guest: Guest) -> list[Role]:
    return list(Role) if guest.ft else [Role.PRIMARY]


BOOK = [Host("h1", 9000, 9000), Host("h2", 9000, 6000), Host("h3", 6000, 6000)]
FIVE = [
    guest(name, cpu, memory)
    for name, cpu, memory in (
        ("g1", 2000, 1000),
        ("g2", 2000, 1000),
        ("g3", 1000, 2000),
        ("g4", 1000, 1000),
        ("g5", 1000, 1000),
    )
]


def test_slots_by_the_worked_example_of_the_documentation() -> None:
    """A slot is as large as the largest reservations, though no guest has both."""
    required = [(g.cpu.reservation, g.ram.reservation) for g in FIVE]
    slots, book = Slots(failures=1), cluster(BOOK, *FIVE)
    assert slots.slot([Required(*r) for r in required]) == (2000, 2000)
    assert slots.available(book, [Required(*r) for r in required]) == [4, 3, 3]
    assert slots.capacity(book) == 1
    assert not refusal(slots, book, guest("g6"))
    assert refusal(Slots(failures=2), book, guest("g6")) == (
        "g6 is not admitted: 6 slots of 2000 MIPS and 2000 MiB would be needed, and 3 are left if "
        "the 2 largest hosts fail; end other guests, reserve less, or tolerate fewer failures"
    )


def test_the_last_slot_is_given_and_no_more() -> None:
    book = cluster(BOOK, *FIVE, guest("g6"))
    assert refusal(Slots(), book, guest("g7")).startswith("g7 is not admitted: 7 slots of 2000")


def test_a_raised_reservation_is_asked_for_and_counts_instead_of_the_old_one() -> None:
    book = cluster(BOOK, *FIVE)
    assert not refusal(Slots(), book, guest("g5", 1000, 2000))
    assert "5 slots of 2000 MIPS and 4000 MiB" in refusal(Slots(), book, guest("g5", 1000, 4000))


def test_without_reservations_a_slot_has_32_mips_and_the_overhead() -> None:
    hosts = [Host("h1", 320, 640), Host("h2", 320, 320)]
    running = [guest(f"g{i}", overhead=64) for i in range(5)]
    assert not refusal(Slots(), cluster(hosts, *running[:4]), running[4])
    assert "6 slots of 32 MIPS and 64 MiB would be needed, and 5 are left" in refusal(
        Slots(), cluster(hosts, *running), guest("g5", overhead=64)
    )


def test_guests_that_require_no_memory_are_counted_by_their_cpu() -> None:
    hosts = [Host("h1", 64, 100), Host("h2", 64, 100)]
    assert not refusal(Slots(), cluster(hosts, guest("g1")), guest("g2"))
    assert refusal(Slots(), cluster(hosts, guest("g1"), guest("g2")), guest("g3"))


def test_a_limited_slot_makes_a_large_guest_take_several() -> None:
    hosts = [Host(f"h{i}", 4000, 4000) for i in range(3)]
    large = guest("large", 500, 3000)
    assert "2 slots of 500 MIPS and 3000 MiB" not in refusal(
        Slots(), cluster(hosts, large), guest("small", 500, 1000)
    )
    small = [guest(f"small{i}", 500, 1000) for i in range(5)]
    limited = Slots(memory=1000)
    assert not refusal(limited, cluster(hosts, large, *small[:4]), small[4])  # 3 + 5 of 8
    assert "9 slots of 500 MIPS and 1000 MiB would be needed, and 8 are left" in refusal(
        limited, cluster(hosts, large, *small), guest("more", 500, 1000)
    )
    assert refusal(Slots(), cluster(hosts, large, *small[:4]), small[4])


def test_the_largest_hosts_are_those_that_fail() -> None:
    hosts = [Host("small", 320, 320), Host("large", 3200, 3200)]
    running = [guest(f"g{i}", overhead=32) for i in range(10)]
    assert Slots().capacity(cluster(hosts, *running)) == 1
    assert refusal(Slots(), cluster(hosts, *running), guest("g10", overhead=32))


def test_a_host_in_maintenance_gives_no_slot() -> None:
    away = [BOOK[0], BOOK[1], replace(BOOK[2], maintenance=True)]
    assert "and 3 are left if the largest host fails" in refusal(
        Slots(), cluster(away, *FIVE), guest("g6")
    )


def test_both_replicas_of_a_protected_guest_take_room() -> None:
    book = cluster(BOOK, *FIVE)
    assert not refusal(Slots(), book, guest("g6"))
    assert "7 slots" in refusal(Slots(), book, guest("g6", ft=True))
    assert "8 slots" in refusal(Slots(), cluster(BOOK, *FIVE, guest("g6", ft=True)), guest("g7"))


def test_a_single_host_tolerates_no_failure() -> None:
    alone = cluster([Host("h1", 9000, 9000)])
    assert "and 0 are left if the largest host fails" in refusal(Slots(), alone, guest("g1"))
    assert refusal(Percentage(), alone, guest("g1")) == (
        "g1 is not admitted: fewer than 2 hosts are in use, and no other could take over; add one"
    )


def test_percentages_of_cpu_and_of_memory_are_kept_apart() -> None:
    """The documentation's second example: 7 of 24 GHz and 6 of 21 GB are reserved."""
    book = cluster(BOOK, *FIVE)
    free = Percentage().free(book)
    assert (round(free.cpu), round(free.memory)) == (71, 71)
    assert not refusal(Percentage(), book, guest("g6", 11000, 0))
    assert refusal(Percentage(), book, guest("g6", 12000, 0)) == (
        "g6 is not admitted: 20.8 % of the cluster's CPU would be free, and 25 % are kept for "
        "failures; end other guests or reserve less"
    )
    assert "of the cluster's memory would be free" in refusal(
        Percentage(), book, guest("g6", 0, 10000)
    )
    assert not refusal(Percentage(cpu=25, memory=0), book, guest("g6", 0, 10000))


def test_exactly_the_percentage_is_free() -> None:
    hosts = [Host("h1", 500, 500), Host("h2", 500, 500)]
    assert not refusal(Percentage(), cluster(hosts), guest("g1", 750, 750))
    assert refusal(Percentage(), cluster(hosts), guest("g1", 751, 750))


def test_when_more_is_reserved_than_there_is_nothing_is_free() -> None:
    hosts = [Host("h1", 500, 500), Host("h2", 500, 500)]
    assert Percentage().free(cluster(hosts, guest("g1", 1500))).cpu == -50
    assert "0.0 % of the cluster's CPU" in refusal(
        Percentage(), cluster(hosts, guest("g1", 1500)), guest("g2")
    )


def test_failover_hosts_take_no_guest_by_themselves_and_others_do() -> None:
    hosts = [Host("h1", 100, 100), Host("spare", 100, 100, standby=True)]
    here = cluster(hosts)
    assert not refusal(FailoverHosts(), here, guest("g1"))
    assert not refusal(FailoverHosts(), here, guest("g1"), "h1")
    assert refusal(FailoverHosts(), here, guest("g1"), "spare") == (
        "g1 is not admitted: spare is kept free for the guests of hosts that fail; "
        "choose another host"
    )


def test_without_a_policy_anything_is_admitted() -> None:
    assert not refusal(None, cluster([Host("h1", 1, 1)]), guest("g1", 1000, 1000), "h1")


@pytest.mark.parametrize("policy", [Slots(), Percentage()])
def test_an_empty_cluster_refuses_and_says_why(policy: Policy) -> None:
    assert refusal(policy, Cluster({}, {}, {}), guest("g1")).startswith("g1 is not admitted: ")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Slots(failures=0), "1 host or more"),
        (lambda: Slots(cpu=0), "a slot's CPU must be more than 0"),
        (lambda: Slots(memory=-1), "a slot's memory must be more than -1"),
        (lambda: Percentage(cpu=101), "101 % of the CPU"),
        (lambda: Percentage(memory=-1), "-1 % of the memory"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()  # type: ignore[operator]
