"""Load balancing at work: what is recommended is carried out, or shown, as the cluster is set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from vlockstep.cluster.drs.advice import Advice, Fault, Move, Recommendation, Settings
from vlockstep.cluster.drs.balancer import Balancer
from vlockstep.cluster.drs.check import check_plan
from vlockstep.cluster.drs.draft import name_of
from vlockstep.cluster.drs.schedule import SLOTS, schedule
from vlockstep.cluster.master.detours import Ask, Detours
from vlockstep.cluster.master.view import View
from vlockstep.cluster.model import Automation, Cluster, Role
from vlockstep.cluster.records import Advice as Advised
from vlockstep.cluster.rules import check_rules

BY = "load balancing"
"""Who asks for the moves."""


HOSTS_TOLD = 4
"""Of more hosts it is not told why a guest cannot move there."""


class Balancing:
    """Of one master. `now` is in seconds of a monotonic clock."""

    def __init__(self, ask: Ask) -> None:
        self._balancer = Balancer(Settings())
        self._detours = Detours(ask)
        self._due = float("-inf")
        self._told: tuple[Mapping[str, Any], ...] | None = None
        self.imbalance = 0.0
        self.faults: tuple[str, ...] = ()
        """Why rules do not hold, or what must move cannot."""

    def round(self, now: float, view: View) -> None:
        config = view.config.record
        settings = Settings(threshold=config.threshold, hold=config.hold)
        if settings != self._balancer.settings:
            self._balancer = Balancer(settings)
        cluster = _to_balance(view)
        self._balancer.observe(now, cluster)
        if now < self._due and not self._detours.answered:
            return
        moving = (t.record.target for t in view.open_tasks() if t.record.kind == "migrate")
        if any(map(view.ours, moving)):
            return
        self._due = now + config.interval
        advice = self._balancer.recommend(cluster)
        detour, problem = None, ""
        if advice.faults:
            detour, problem = self._detours.find(cluster, advice.faults)
        chosen = detour or advice
        self.imbalance = round(advice.before, 4)
        faults = [conflict.text for conflict in check_rules(cluster)]
        faults += [_text_of(fault) for fault in chosen.faults]
        self.faults = (*faults, problem) if problem else tuple(faults)
        moves = self._carry_out(view, cluster, chosen)
        if detour:
            self._detours.follow(moves)
        elif advice.faults and not moves:
            self._detours.ask(cluster)
        self._show(view, chosen)

    def _carry_out(self, view: View, cluster: Cluster, advice: Advice) -> Sequence[Move]:
        """The first step of what needs nobody's consent; the rest is thought of anew when that is
        done."""
        automatic = [each for each in advice.recommendations if each.automatic]
        plan = schedule(cluster, [move for each in automatic for move in each.moves])
        if wrong := check_plan(cluster, plan.steps, SLOTS):
            view.event("plan-refused", f"nothing is moved: {'; '.join(wrong)}")
            return ()
        causes = {move.replica: each for each in automatic for move in each.moves}
        step = plan.steps[0] if plan.steps else ()
        for replica, source, target in step:
            cause = causes[replica]
            text = f"{replica.guest} moves from {source} to {target}: {cause.text}"
            view.event("recommendation-applied", text, target, replica.guest)
            details = {"host": target, "role": str(replica.role), "reason": str(cause.reason)}
            view.add_task("migrate", replica.guest, BY, **details)
        return step

    def _show(self, view: View, advice: Advice) -> None:
        found = advice.recommendations
        keys = {each.key: _key(each) for each in found}
        told = tuple(_plain(each, keys) for each in found if not each.automatic)
        if told != self._told:
            self._told = told
            view.advise(Advised(view.wall, told))


def _to_balance(view: View) -> Cluster:
    """Guests for which another master is responsible, or none, stay where they are."""
    cluster = view.cluster()
    guests = {
        name: guest if view.ours(name) else replace(guest, automation=Automation.DISABLED)
        for name, guest in cluster.guests.items()
    }
    return replace(cluster, guests=guests)


def _text_of(fault: Fault) -> str:
    """For people, with what is in the way on the first hosts."""
    obstacles = [f"{host}: {why}" for host, why in fault.obstacles.items() if why not in fault.text]
    told = obstacles[:HOSTS_TOLD]
    if others := len(obstacles) - len(told):
        told.append(f"and {others} other hosts")
    where = f" ({'; '.join(told)})" if told else ""
    return f"{name_of(fault.replica)} is not moved: {fault.text}{where}"


def _key(each: Recommendation) -> str:
    """The same as long as it recommends the same."""
    replica, _, target = each.moves[0]
    role = "" if replica.role is Role.PRIMARY else f"{replica.role}:"
    return f"{replica.guest}:{role}{target}"


def _plain(each: Recommendation, keys: Mapping[int, str]) -> dict[str, Any]:
    return {
        "key": keys[each.key],
        "priority": each.priority,
        "reason": each.text,
        "code": str(each.reason),
        "gain": round(each.gain, 4),
        "cost": round(each.cost, 4),
        "risk": round(each.risk, 4),
        "prerequisites": [keys[key] for key in each.prerequisites],
        "moves": [
            {
                "guest": move.replica.guest,
                "role": str(move.replica.role),
                "from": move.source,
                "to": move.target,
            }
            for move in each.moves
        ],
    }
