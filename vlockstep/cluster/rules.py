"""Rules that cannot hold together: the older one wins, the newer one is not in force.

Whether rules conflict does not depend on which hosts are connected, nor on who runs where: a rule
that cannot hold at the moment is broken, one that can never hold beside another is in conflict.
Rules that only should hold are in conflict with none, they give way when the time comes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vlockstep.cluster.model import Apart, Cluster, Guest, OnHosts, Rule, Together


@dataclass(frozen=True)
class Conflict:
    """`rule` is not in force, because of the older rules `against`."""

    rule: str
    against: tuple[str, ...]

    @property
    def text(self) -> str:
        others = ", ".join(self.against)
        return (
            f"rule {self.rule} is not in force, it cannot hold together with {others}: "
            f"change it, or disable {others}"
        )


def check_rules(cluster: Cluster) -> list[Conflict]:
    """All conflicts, in the order of the rules that lose."""
    return _sift(cluster)[1]


def in_force(cluster: Cluster) -> tuple[Rule, ...]:
    """The rules that are enabled and lose no conflict, in their order."""
    return _sift(cluster)[0]


def _sift(cluster: Cluster) -> tuple[tuple[Rule, ...], list[Conflict]]:
    accepted: list[Rule] = []
    binding: dict[str, list[int]] = {}
    conflicts = []
    for index, rule in enumerate(cluster.rules):
        if not rule.enabled:
            continue
        if not isinstance(rule, OnHosts) or rule.mandatory:
            others = _around(rule, binding, cluster.rules)
            if not _can_hold([*others, rule], cluster.guests):
                against = _core(rule, others, cluster.guests)
                conflicts.append(Conflict(rule.name, tuple(other.name for other in against)))
                continue
            for guest in rule.guests:
                binding.setdefault(guest, []).append(index)
        accepted.append(rule)
    return tuple(accepted), conflicts


def _around(rule: Rule, binding: Mapping[str, list[int]], rules: Sequence[Rule]) -> list[Rule]:
    """The rules that share a guest with this one, or with one that does, and so on."""
    found: set[int] = set()
    seen = set(rule.guests)
    queue = list(seen)
    while queue:
        for index in binding.get(queue.pop(), ()):
            found.add(index)
            queue += rules[index].guests - seen
            seen |= rules[index].guests
    return [rules[index] for index in sorted(found)]


def _core(rule: Rule, others: Sequence[Rule], guests: Mapping[str, Guest]) -> list[Rule]:
    """As few of the others as it takes for a conflict."""
    core = list(others)
    for other in others:
        fewer = [kept for kept in core if kept is not other]
        if not _can_hold([*fewer, rule], guests):
            core = fewer
    return core


def _can_hold(rules: Sequence[Rule], guests: Mapping[str, Guest]) -> bool:
    """Whether they can hold together, each Apart for itself, if hosts have room for everybody."""
    where = {guest: _allowed(guest, rules) for rule in rules for guest in rule.guests}
    groups = bundles(rule.guests for rule in rules if isinstance(rule, Together))
    together = {guest: group for group in groups for guest in group}

    def primary(guest: str) -> frozenset[str] | None:
        sets = [where[other] for other in together.get(guest, (guest,))]
        bounded = [allowed for allowed in sets if allowed is not None]
        return frozenset.intersection(*bounded) if bounded else None

    if any(allowed is not None and not allowed for allowed in map(primary, where)):
        return False
    for rule in rules:
        if not isinstance(rule, Apart):
            continue
        if any(len(rule.guests & group) > 1 for group in groups):
            return False
        each = [primary(guest) for guest in sorted(rule.guests)]
        protected = [guest for guest in sorted(rule.guests) if guest in guests and guests[guest].ft]
        each += [where[guest] for guest in protected]
        if not _one_each([allowed for allowed in each if allowed is not None]):
            return False
    return True


def _allowed(guest: str, rules: Iterable[Rule]) -> frozenset[str] | None:
    """The hosts that rules leave to a guest, None if none says where it is to be."""
    about = [rule for rule in rules if isinstance(rule, OnHosts) and guest in rule.guests]
    inside = [rule.hosts for rule in about if rule.inside]
    if not inside:
        return None
    return frozenset.intersection(*inside).difference(*(r.hosts for r in about if not r.inside))


def bundles(groups: Iterable[frozenset[str]]) -> list[frozenset[str]]:
    """Groups that share a guest are one."""
    found: list[frozenset[str]] = []
    for group in groups:
        joined = [other for other in found if other & group]
        found = [other for other in found if not other & group]
        found.append(group.union(*joined))
    return found


def _one_each(wanted: Sequence[frozenset[str]]) -> bool:
    """Whether each can have a host of its own: a matching, by augmenting paths."""
    owner: dict[str, int] = {}

    def find(index: int, tried: set[str]) -> bool:
        for host in sorted(wanted[index] - tried):
            tried.add(host)
            if host not in owner or find(owner[host], tried):
                owner[host] = index
                return True
        return False

    return all(find(index, set()) for index in range(len(wanted)))
