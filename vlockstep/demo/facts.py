"""What a demonstration has shown, for programs and in one sentence."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from vlockstep.demo.proof import Check
from vlockstep.demo.story import Story


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
        finished, began = self.story.finished, self.story.began
        return finished["time"] - began if finished and began else None

    @property
    def log_rate(self) -> float | None:
        """Bytes per second."""
        return self.log_bytes / self.seconds if self.seconds else None

    def note(self) -> str:
        """Of the log and the lag."""
        entries, milliseconds = self.story.max_lag
        rate = f", {self.log_rate / 1024:.1f} KiB/s" if self.log_rate is not None else ""
        lag = f"B was at most {entries} entries, {milliseconds:.1f} ms behind"
        return f"log: {self.log_bytes} bytes{rate}; {lag}"

    def verdict(self) -> str:
        plan = self.story.plan
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
            "log_bytes": self.log_bytes,
            "log_bytes_per_second": self.log_rate,
            "events": [[round(m.seconds, 6), m.text] for m in story.moments],
            "checks": [{"name": c.name, "ok": c.ok, "text": c.text} for c in self.checks],
        }
