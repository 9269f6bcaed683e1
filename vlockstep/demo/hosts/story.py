"""What was seen of a cluster, and when, from its reports and events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vlockstep.cluster.model import Role
from vlockstep.cluster.records import ClusterEvent, ReplicaReport, Report
from vlockstep.demo.hosts.plan import HostsPlan
from vlockstep.demo.story import Moment, Tone

_BAD = ("replica-not-started", "replica-pending", "restart-given-up")


@dataclass
class Span:
    """A replica on a host in one role, in seconds since the epoch; `end` is None while it runs.
    `generation` is the last one that it told of."""

    guest: str
    host: str
    role: Role
    generation: int
    begin: float
    end: float | None = None


@dataclass
class HostsStory:
    plan: HostsPlan
    began: float = 0
    """When the guests ran and the clients had come."""
    struck: float | None = None
    """When it happened to the host."""
    now: float = 0
    spans: list[Span] = field(default_factory=list)
    moments: list[Moment] = field(default_factory=list)
    states: Mapping[str, str] = field(default_factory=dict)
    masters: list[tuple[float, str]] = field(default_factory=list)
    """Who was master from when on."""
    _events: int = 0

    @property
    def master(self) -> str:
        return self.masters[-1][1] if self.masters else ""

    @property
    def seconds(self) -> float:
        return self.now - self.began if self.began else 0.0

    def running(self, guest: str | None = None, host: str | None = None) -> list[Span]:
        """Replicas that run."""
        return [
            span
            for span in self.spans
            if span.end is None and guest in (None, span.guest) and host in (None, span.host)
        ]

    def primary(self, guest: str) -> Span | None:
        ruling = [span for span in self.running(guest) if span.role is Role.PRIMARY]
        return max(ruling, key=lambda span: span.generation, default=None)

    def see(self, now: float, reports: Mapping[str, Report], ordered: set[str]) -> None:
        """What hosts report; `ordered` has `HOST/GUEST` for what they are to run."""
        self.now = now
        for host, report in reports.items():
            if host == self.plan.host and self.dead:
                continue
            for guest, replica in report.replicas.items():
                wanted = f"{host}/{guest}" in ordered
                self._see(now, host, guest, replica if wanted else None)

    @property
    def dead(self) -> bool:
        """The host that was struck runs nothing any more."""
        return self.struck is not None and self.plan.deed == "killed"

    def strike(self, now: float) -> None:
        self.struck = self.now = now
        self.tell(now, f"host {self.plan.host} is {self.plan.deed}", "bad", cause=True)
        if self.dead:
            for span in self.running(host=self.plan.host):
                span.end = now

    def status(self, now: float, master: str, states: Mapping[str, str]) -> None:
        self.states = states
        if master and master != self.master:
            self.masters.append((now, master))
            if self.began:
                self.tell(now, f"{master} is master", "good")

    def hear(self, events: list[ClusterEvent]) -> None:
        for event in events:
            if event.number > self._events:
                self._events = event.number
                tone: Tone = "bad" if event.kind in _BAD else "good"
                if self.began:
                    self.tell(event.time, event.text, tone)

    def tell(self, time: float, text: str, tone: Tone = "", *, cause: bool = False) -> None:
        seconds = max(0.0, time - (self.began or time))
        self.moments.append(Moment(seconds, text, tone, cause))
        self.moments.sort(key=lambda moment: (moment.seconds, not moment.cause))

    def _see(self, now: float, host: str, guest: str, replica: ReplicaReport | None) -> None:
        role = replica.role if replica is not None and replica.begun else None
        generation = replica.generation if replica is not None else 0
        known = next(iter(self.running(guest, host)), None)
        if known is not None and known.role is role:
            known.generation = generation
            return
        if known is not None:
            known.end = now
        if role is not None:
            self.spans.append(Span(guest, host, role, generation, now))
