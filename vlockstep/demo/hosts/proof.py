"""Whether a host's failure could be seen, from what is left: arbiters, consoles, answers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from vlockstep.arbiter import DirectoryArbiter
from vlockstep.arbiter.rule import sealed
from vlockstep.cluster.model import Role
from vlockstep.demo.hosts.plan import SERVER, Deed
from vlockstep.demo.hosts.story import HostsStory
from vlockstep.demo.network import Network
from vlockstep.demo.proof import Check
from vlockstep.demo.visits import longest
from vlockstep.testing import HostCluster

_LINE = re.compile(rb"ledger (\d{6,}) ")


def prove(story: HostsStory, cluster: HostCluster, network: Network) -> Iterator[Check]:
    yield master(story)
    yield guests(story)
    yield clients(story, network)
    yield counters(network)
    yield protection(story)
    yield once(story, cluster)
    yield consoles(story, cluster)


def master(story: HostsStory) -> Check:
    plan = story.plan
    if plan.deed is Deed.MAINTENANCE:
        ok = bool(story.master) and story.master != plan.host
    else:
        ok = story.master != plan.host and story.master in plan.hosts
    was = f", {plan.host} was" if [m for _, m in story.masters if m == plan.host] else ""
    return Check("master", ok, f"{story.master} is master{was}")


def guests(story: HostsStory) -> Check:
    """Where those of the host run now."""
    found, lost = [], []
    for name in story.plan.struck:
        span = story.primary(name)
        if span is None or span.host == story.plan.host:
            lost.append(name)
        else:
            found.append(f"{name} on {span.host}")
    text = ", ".join(found)
    return Check("guests", not lost, f"{', '.join(lost)} not: {text}" if lost else f"run: {text}")


def clients(story: HostsStory, network: Network) -> Check:
    trouble = [f"{v.name}: {v.trouble}" for v in network.visitors if v.trouble]
    if trouble:
        return Check("clients", False, "; ".join(trouble))
    answers = sum(len(visitor.answered) for visitor in network.visitors)
    at = longest(network.visitors, at=story.struck) if story.struck is not None else None
    gap = f", {at.milliseconds:.0f} ms without one at the blow" if at is not None else ""
    return Check("clients", answers > 0, f"{answers} answers over the same connections{gap}")


def counters(network: Network) -> Check:
    """Every acknowledged INCR was counted once."""
    if not network.clients:
        lost = sum(ping.lost for ping in network.pings)
        sent = sum(ping.sent for ping in network.pings)
        return Check("pings", sent > 0, f"{sent} pings, of which {lost} had no answer")
    wrong = [
        client.name
        for client in network.clients
        if client.replies != [*range(1, len(client.replies) + 1)]
        or client.value != b"%d" % len(client.replies)
    ]
    total = sum(len(client.replies) for client in network.clients)
    text = f"{total} increments, each counted once"
    return Check("counters", not wrong, f"wrong at {', '.join(wrong)}" if wrong else text)


def protection(story: HostsStory) -> Check:
    spans = story.running(SERVER)
    hosts = sorted({span.host for span in spans})
    roles = {span.role for span in spans}
    ok = len(hosts) >= 2 and roles == {Role.PRIMARY, Role.SECONDARY}
    where = ", ".join(f"{span.role} on {span.host}" for span in spans)
    return Check("protection", ok, f"{SERVER}: {where or 'nowhere'}")


def once(story: HostsStory, cluster: HostCluster) -> Check:
    """Who owned each generation was a member of the one before, or came after its lease."""
    faults, generations = [], 0
    for guest in story.plan.guests:
        arbiter = DirectoryArbiter(cluster.folder(guest.name) / "arbiter", "proof")
        reigns = arbiter.reigns()
        generations += len(reigns)
        for before, after in pairwise(reign.record for reign in reigns):
            if after.owner not in before.members and not sealed(arbiter, before):
                faults.append(f"{guest.name}: generation {after.generation}")
    text = f"{generations} generations, one owner each; restarts came after a lease"
    return Check("one live", not faults, f"not so: {', '.join(faults)}" if faults else text)


def consoles(story: HostsStory, cluster: HostCluster) -> Check:
    """A ledger numbers its lines: each life begins at the first, and no line of an earlier life
    comes in a later one."""
    faults, lines, lives = [], 0, 0
    for guest in story.plan.guests:
        if guest.file["image"] != "ledger":
            continue
        numbers = [int(number) for number in _LINE.findall(cluster.console(guest.name))]
        lines += len(numbers)
        lives += 1 + sum(after <= before for before, after in pairwise(numbers))
        jumps = [
            (before, after)
            for before, after in pairwise(numbers)
            if after != before + 1 and after != numbers[0]
        ]
        if jumps or not numbers:
            faults.append(guest.name)
    text = f"{lines} lines of {lives} lives, none lost, repeated or out of place"
    return Check("consoles", not faults, f"wrong: {', '.join(faults)}" if faults else text)
