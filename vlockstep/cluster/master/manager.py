"""The rounds of a master: look at all that shall be and all that is, and order what is missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from vlockstep.cluster.ha.admission import FailoverHosts, Percentage, Policy, Slots, refusal
from vlockstep.cluster.ha.restarts import Cause, GaveUp, Restarts, RestartTiming, Start, Unplaced
from vlockstep.cluster.ha.states import Availability
from vlockstep.cluster.master.balancing import Balancing
from vlockstep.cluster.master.detours import Ask
from vlockstep.cluster.master.guests import Guests
from vlockstep.cluster.master.hosts import HostEvents
from vlockstep.cluster.master.reset import Resets
from vlockstep.cluster.master.tasks import Tasks
from vlockstep.cluster.master.view import Beliefs, Seat, View
from vlockstep.cluster.model import Replica, Role
from vlockstep.cluster.records import Begin, ClusterRecord, End, MasterStatus
from vlockstep.cluster.store import Store
from vlockstep.errors import UsageError

SECOND = 1_000_000_000
_SPEEDS = {"fast": 20, "vsphere55": 1}
_START = 60 * SECOND
"""For an attempt, whatever the profile: processes start no faster in it."""
_ALIVE = (Availability.MASTER, Availability.CONNECTED)


@dataclass
class _Attempt:
    """An order to start a replica: its number, until when it must have come to something, and
    whether the replica had run, and failed: nobody asked for this start."""

    number: int
    until: int
    restart: bool


@dataclass(frozen=True)
class Sight:
    """What the monitor of the master's host sees: the states of all hosts, and the datastores that
    it owns. It is `ready` when hosts have had time to join. `listed` are the guests that run on
    hosts that are cut off, as those say on datastores."""

    states: Mapping[str, Availability]
    owned: frozenset[str]
    ready: bool
    listed: Mapping[str, frozenset[str]] = field(default_factory=dict)


class Manager:
    """Of one mastership: the next master begins anew with all that is not in the store."""

    def __init__(
        self,
        host: str,
        store: Store,
        config: ClusterRecord,
        wall: float,
        fresh: int,
        ask: Ask,
    ) -> None:
        """A report is believed for `fresh` nanoseconds. `ask` is for what load balancing finds no
        way to do."""
        self._host = host
        self._store = store
        self._since = wall
        self._fresh = fresh
        self._reported: dict[str, tuple[tuple[str, int], int | None]] = {}
        """By host, which report was the last, and since when it has been that, if that is known."""
        speed = _SPEEDS.get(config.profile, 1)
        timing = replace(RestartTiming().faster(speed), start=_START)
        self._restarts = Restarts(timing, apart=config.apart)
        self._resets = Resets(speed)
        self._balancing = Balancing(ask)
        self._hosts = HostEvents(host)
        self._attempts: dict[Replica, _Attempt] = {}
        self._pending: Mapping[str, str] = {}
        self._tasks_since: dict[int, float] = {}
        self._holding: set[str] = set()
        """Guests whose outputs wait."""

    def round(self, now: int, wall: float, look: Callable[[], Sight]) -> None:
        """`now` is in nanoseconds of a monotonic clock. Looks when all is read, since that may have
        taken so long that another one is master. Raises `StoreError` if the store does not answer:
        what was decided before stands, and the next round goes on."""
        view = View(self._store, wall)
        sight = look()
        view.beliefs = self._believe(now, view, sight)
        if not sight.owned:
            return  # another one may be responsible for all there is
        if not sight.ready:
            self._tell(view)
            return
        self._hosts.round(view, sight.states)
        tasks = Tasks(view, self._admit, now / SECOND, self._tasks_since)
        tasks.round()
        view.forget_tasks()
        for name in tasks.again:
            self._restarts.again(name)
        guests = Guests(view, tasks.busy)
        guests.round()
        self._tell_holding(view, guests.holding)
        if view.config.record.ha:
            self._resets.round(now, view, guests)
            self._restart(now, view, guests)
        if view.config.record.drs:
            self._balancing.round(now / SECOND, view)
        self._tell(view)

    def _believe(self, now: int, view: View, sight: Sight) -> Beliefs:
        """A host reports again and again; one that does not has nothing to tell that is true. How
        old the first report is that this master finds nobody knows."""
        for host, report in view.reports.items():
            told = (report.instance, report.number)
            if host not in self._reported:
                self._reported[host] = told, None
            elif self._reported[host][0] != told:
                self._reported[host] = told, now
        trusted = frozenset(
            host
            for host, (_, heard) in self._reported.items()
            if heard is not None and now - heard <= self._fresh and host in view.hosts
        )
        states = sight.states
        alive = frozenset(host for host, state in states.items() if state in _ALIVE)
        down = frozenset(host for host, state in states.items() if state is Availability.DOWN)
        gone = frozenset(host for host, _ in view.orders if host not in view.hosts)
        return Beliefs(
            {host: str(state) for host, state in states.items()},
            usable=alive & trusted,
            trusted=trusted,
            lost=(down - trusted) | gone,
            listed={host: on for host, on in sight.listed.items() if host not in trusted},
            owned=sight.owned,
        )

    # High availability

    def _restart(self, now: int, view: View, guests: Guests) -> None:
        actions: list[Start | Unplaced | GaveUp] = []
        for replica, host in list(self._restarts.under_way.items()):
            attempt = self._attempts[replica]
            seat = next((s for s in view.seats(replica.guest) if s.host == host), None)
            if seat is None or seat.attempt != attempt.number:
                actions += self._restarts.failed(now, replica, host, "it was called off")
            elif seat.lost:
                actions += self._restarts.host_failed(now, host)
            elif seat.trusted and seat.begun:
                self._restarts.started(replica, host)
                text = f"{_name(replica)} runs on {host}{_resumed(seat)}"
                restart = attempt.restart
                view.event("replica-started", text, host, replica.guest, restart=restart)
            elif seat.trusted and seat.over:
                problem = seat.report.problem if seat.report is not None else ""
                actions += self._restarts.failed(now, replica, host, problem or "it ended at once")
                text = f"{_name(replica)} did not start on {host}: {problem}"
                restart = attempt.restart
                view.event("replica-not-started", text, host, replica.guest, restart=restart)
            elif now > attempt.until:
                view.change_order(seat, end=End.KILL, reason="it took too long to start")
        under_way = dict.fromkeys(self._restarts.under_way, Cause.NEW)
        missing = {**under_way, **guests.missing}
        actions += self._restarts.update(now, view.cluster(), missing)
        for start in [action for action in actions if isinstance(action, Start)]:
            # The store may fail in the midst of the orders, and they are under way nevertheless.
            number = view.guests[start.replica.guest].record.attempt + 1
            restart = self._restarts.cause(start.replica) is not Cause.NEW
            self._attempts[start.replica] = _Attempt(number, now + start.limit, restart)
        for action in actions:
            match action:
                case Start():
                    self._start(view, guests, action)
                case Unplaced(replica):
                    view.event("replica-pending", str(action), guest=replica.guest)
                case GaveUp(replica):
                    restart = self._attempts[replica].restart
                    text, guest = str(action), replica.guest
                    view.event("restart-given-up", text, guest=guest, restart=restart)
        self._pending = {
            _name(replica): "; ".join(f"{h}: {', '.join(why)}" for h, why in reasons.items())
            for replica, reasons in self._restarts.pending.items()
        }

    def _start(self, view: View, guests: Guests, start: Start) -> None:
        replica = start.replica
        primary = replica.role is Role.PRIMARY
        begin = Begin.JOIN
        if primary:
            begin = Begin.RESUME if view.resumes(replica.guest) else Begin.BOOT
        join = None if primary else guests.endpoints[replica.guest]
        number = view.order(start.host, replica.guest, begin, join)
        self._attempts[replica].number = number or 0
        if number is not None:
            cause = guests.missing.get(replica)
            text = f"{_name(replica)} is started on {start.host}: {cause}"
            view.event("replica-ordered", text, start.host, replica.guest)

    def _tell_holding(self, view: View, holding: Mapping[str, bool]) -> None:
        """Of guests that begin to wait, or to emit again."""
        for name, waits in holding.items():
            if waits and name not in self._holding:
                text = f"the outputs of {name} wait until it has a secondary"
                view.event("guest-holding", text, guest=name)
                self._holding.add(name)
            elif not waits and name in self._holding:
                text = f"the outputs of {name} do not wait for a secondary any more"
                view.event("guest-holding-over", text, guest=name)
                self._holding.remove(name)

    def _admit(self, view: View, name: str) -> str:
        cluster = view.cluster()
        return refusal(policy_of(view.config.record.admission), cluster, cluster.guests[name])

    def _tell(self, view: View) -> None:
        view.tell(
            MasterStatus(
                self._host,
                self._since,
                view.wall,
                view.beliefs.states,
                self._pending,
                (*view.damaged.values(), *self._balancing.faults),
                self._balancing.imbalance,
            )
        )


def policy_of(given: Mapping[str, Any]) -> Policy | None:
    """As the cluster's record has it: `policy` and the policy's own settings."""
    kinds: dict[str, type[Policy]] = {
        "slots": Slots,
        "percentage": Percentage,
        "failover hosts": FailoverHosts,
    }
    settings = dict(given)
    name = settings.pop("policy", None)
    if name is None:
        if settings:
            raise UsageError(f"admission.policy is missing: there are {', '.join(kinds)}")
        return None
    if name not in kinds:
        raise UsageError(f"{name!r} is no admission policy: there are {', '.join(kinds)}")
    known = [each.name for each in fields(kinds[name])]
    for setting, value in settings.items():
        if setting not in known:
            there = ", ".join(known) or "none"
            raise UsageError(f"admission.{setting}: the policy {name} has no such setting: {there}")
        if not isinstance(value, int | float):
            raise UsageError(f"admission.{setting}: {value!r} is not a number")
    return kinds[name](**settings)


def _resumed(seat: Seat) -> str:
    """Whether its guest goes on there."""
    report = seat.report
    if report is not None and report.resumed is not None:
        return f", resumed after {report.resumed} entries of its log"
    return f"; it boots: {report.unresumed}" if report is not None and report.unresumed else ""


def _name(replica: Replica) -> str:
    return replica.guest if replica.role is Role.PRIMARY else f"the secondary of {replica.guest}"
