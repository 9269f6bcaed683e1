"""What a demonstration has shown, for programs and in one sentence."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from vlockstep.demo.network import Network
from vlockstep.demo.proof import Check
from vlockstep.demo.story import Story
from vlockstep.demo.visits import longest


@dataclass
class Facts:
    story: Story
    log_bytes: int
    checks: list[Check] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return bool(self.checks) and all(check.ok for check in self.checks)

    @property
    def seconds(self) -> float | None:
        """That the guest ran."""
        over, began = self.story.over, self.story.began
        return over - began if over and began else None

    @property
    def log_rate(self) -> float | None:
        """Bytes per second."""
        return self.log_bytes / self.seconds if self.seconds else None

    @property
    def gap(self) -> float | None:
        """Milliseconds: the longest gap that a client saw over the failover."""
        network, live = self.story.network, self.story.live
        found = longest(network.visitors, at=live["time"]) if network and live else None
        return found.milliseconds if found else None

    @property
    def rest(self) -> float | None:
        """What of that gap was neither detection nor promotion."""
        failover = self.story.failover
        return None if self.gap is None or failover is None else self.gap - failover

    @property
    def other_gap(self) -> float | None:
        """Milliseconds: the longest one at any other time."""
        network, live = self.story.network, self.story.live or {}
        found = longest(network.visitors, beside=live.get("time")) if network else None
        return found.milliseconds if found else None

    def notes(self) -> list[str]:
        """Lines, of what there is to know besides."""
        network = self.story.network
        if network is None:
            return [self._log_note()]
        counted = network.counted({f"{who}": p.pid for who, p in self.story.players.items()})
        return [*self._gap_notes(network), counted, self._log_note()]

    def _gap_notes(self, network: Network) -> list[str]:
        notes = []
        if self.gap is not None and self.rest is not None:
            parts = f"{self.story.failover:.0f} ms detection and promotion, {self.rest:.0f} ms rest"
            besides = f"; at other times {self.other_gap:.0f} ms" if self.other_gap else ""
            notes.append(f"longest gap that a client saw: {self.gap:.0f} ms = {parts}{besides}")
        if network.without:
            notes.append(f"{network.without}; with passt you would see TCP clients go on")
        return notes

    def _log_note(self) -> str:
        entries, milliseconds = self.story.max_lag
        rate = f", {self.log_rate / 1024:.1f} KiB/s" if self.log_rate is not None else ""
        lag = f"B was at most {entries} entries, {milliseconds:.1f} ms behind"
        return f"log: {self.log_bytes} bytes{rate}; {lag}"

    def verdict(self) -> str:
        plan, network = self.story.plan, self.story.network
        if self.ok and network is not None and network.clients:
            return f"no client noticed that the guest's primary was {plan.deed}"
        if self.ok:
            return f"the guest did not notice that its primary was {plan.deed}"
        failed = sum(not check.ok for check in self.checks)
        return f"{failed} of {len(self.checks)} checks FAILED"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        story, plan = self.story, self.story.plan
        finished, live = story.finished or {}, story.live or {}
        return {
            "ok": self.ok,
            "guest": plan.image.name,
            "arguments": list(plan.arguments),
            "seed": plan.seed,
            "place": plan.place,
            "signal": plan.signal.name,
            "struck": story.fault is not None,
            "failover_ms": story.failover,
            "generation": live.get("generation"),
            "status": finished.get("status"),
            "seconds": self.seconds,
            "max_lag_entries": story.max_lag[0],
            "max_lag_ms": story.max_lag[1],
            "network": story.network and self._network(story.network),
            "log_bytes": self.log_bytes,
            "log_bytes_per_second": self.log_rate,
            "events": [[round(m.seconds, 6), m.text] for m in story.moments],
            "checks": [{"name": c.name, "ok": c.ok, "text": c.text} for c in self.checks],
        }

    def _network(self, network: Network) -> dict[str, Any]:
        return {
            "passt": network.port is not None,
            "without": network.without,
            "clients": len(network.visitors),
            "answers": sum(len(visitor.answered) for visitor in network.visitors),
            "longest_gap_ms": self.gap,
            "rest_ms": self.rest,
            "other_gap_ms": self.other_gap,
            "ports": network.ports,
        }
