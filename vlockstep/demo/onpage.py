"""A demonstration told to whoever shows it elsewhere, as plain values."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vlockstep.demo.plan import Plan
from vlockstep.demo.proof import Check
from vlockstep.demo.screens import Quiet, console_tail, title
from vlockstep.demo.story import Name, Story

KEPT = 500
"""Answers of each client that are told."""
_LINES = 12
_UNKNOWN = ("lag_entries", "lag_ms", "struck", "live", "failover_ms", "verdict")
_EMPTY = ("moments", "answers", "lines", "checks", "hosts", "spans")
"""At first."""


Tell = Callable[[dict[str, Any]], None]


class Page:
    """Is told by `tell` the whole story whenever something of it is new."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._story: dict[str, Any] = {}
        self.checks: list[dict[str, Any]] = []

    def begin(self, title: Sequence[str], deed: str) -> None:
        self._story = dict.fromkeys(_UNKNOWN) | {key: [] for key in _EMPTY}
        self.say(title=title, deed=deed, seconds=0.0, ahead="", over=False, players={})

    def check(self, check: Check) -> None:
        self.checks.append({"name": check.name, "ok": check.ok, "text": check.text})
        self.say(checks=[*self.checks])

    def say(self, **news: Any) -> None:
        self._story = {**self._story, **news}
        self._tell(self._story)


class Told(Quiet):
    """A screen that tells a page the story, and lets another one (`beside`) show it here."""

    def __init__(self, tell: Tell, beside: Quiet) -> None:
        self._page = Page(tell)
        self._beside = beside
        self._growth = _Growth()

    def start(self, plan: Plan) -> None:
        self._beside.start(plan)
        self._page.begin(title(plan), plan.deed)

    def update(self, story: Story, console: Path) -> None:
        self._beside.update(story, console)
        self._growth.see(console)
        self._page.say(**self._of(story, console))

    def stop(self) -> None:
        self._beside.stop()
        self._page.say(over=True)

    def check(self, check: Check) -> None:
        self._beside.check(check)
        self._page.check(check)

    def verdict(self, ok: bool, notes: list[str], text: str) -> None:
        self._beside.verdict(ok, notes, text)
        self._page.say(verdict={"ok": ok, "text": text, "notes": notes})

    def _of(self, story: Story, console: Path) -> dict[str, Any]:
        entries, milliseconds = story.lag or (None, None)
        return {
            "seconds": self._since(story, time.time()) if story.over is None else story.seconds,
            "ahead": story.ahead,
            "players": {who: _player(story, who) for who in story.players},
            "lag_entries": entries,
            "lag_ms": milliseconds,
            "struck": self._since(story, story.struck),
            "live": self._since(story, story.live["time"] if story.live else None),
            "failover_ms": story.failover,
            "moments": [
                {"seconds": each.seconds, "text": each.text, "tone": each.tone}
                for each in story.moments
            ],
            "answers": self._answers(story),
            "lines": (
                console_tail(console)[-_LINES:] if story.network is None else story.network.lines()
            ),
        }

    def _answers(self, story: Story) -> list[dict[str, Any]]:
        if story.network is None:
            return [self._seen(story, "console", self._growth.count, [*self._growth.times], "")]
        return [
            self._seen(story, each.name, len(each.answered), each.answered[-KEPT:], each.trouble)
            for each in story.network.visitors
        ]

    def _seen(
        self, story: Story, name: str, count: int, times: list[float], trouble: str
    ) -> dict[str, Any]:
        told = [round(self._since(story, each) or 0.0, 3) for each in times]
        return {"name": name, "count": count, "times": told, "trouble": trouble}

    @staticmethod
    def _since(story: Story, moment: float | None) -> float | None:
        return None if moment is None or story.began is None else max(0.0, moment - story.began)


class _Growth:
    """When a console file has grown, as far as it is looked at; `count` are its bytes."""

    def __init__(self) -> None:
        self.count = 0
        self.times: deque[float] = deque(maxlen=KEPT)

    def see(self, console: Path) -> None:
        try:
            size = console.stat().st_size
        except OSError:
            return
        if size != self.count:
            self.count = size
            self.times.append(time.time())


def _player(story: Story, who: Name) -> dict[str, Any]:
    player, status = story.players[who], story.players[who].status
    return {
        "pid": player.pid,
        "role": status.get("role", ""),
        "state": player.state,
        "generation": status.get("generation", 0),
        "position": player.position,
        "entries": status.get("entries", 0),
        "log_bytes_per_s": player.log_rate,
        "gone": who in story.ended and player.state not in ("finished", "ended"),
    }
