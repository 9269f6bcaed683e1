"""A demonstration of a cluster told to whoever shows it elsewhere, as plain values."""

from __future__ import annotations

import time
from typing import Any

from vlockstep.cluster.model import Role
from vlockstep.demo.hosts.plan import SERVER, HostsPlan
from vlockstep.demo.hosts.screens import Quiet, title
from vlockstep.demo.hosts.story import HostsStory
from vlockstep.demo.network import Network
from vlockstep.demo.onpage import KEPT, Page, Tell
from vlockstep.demo.proof import Check

_APART = 0.08
"""Seconds: forty of them are seen."""


class Told(Quiet):
    """A screen that tells a page the story, and lets another one (`beside`) show it here."""

    def __init__(self, tell: Tell, beside: Quiet) -> None:
        self._page = Page(tell)
        self._beside = beside
        self._note = ""

    def start(self, plan: HostsPlan) -> None:
        self._beside.start(plan)
        self._page.begin(title(plan), plan.deed)

    def note(self, text: str) -> None:
        self._beside.note(text)
        self._note = text
        self._page.say(ahead=text)

    def update(self, story: HostsStory, network: Network) -> None:
        self._beside.update(story, network)
        self._page.say(**_Now(story).told(network, self._note))

    def stop(self) -> None:
        self._beside.stop()
        self._page.say(over=True)

    def check(self, check: Check) -> None:
        self._beside.check(check)
        self._page.check(check)

    def verdict(self, text: str) -> None:
        self._beside.verdict(text)
        ok = bool(self._page.checks) and all(check["ok"] for check in self._page.checks)
        self._page.say(verdict={"ok": ok, "text": text, "notes": []})


def _thinned(times: list[float]) -> list[float]:
    """The newest, no two of them nearer than one sees."""
    found: list[float] = []
    for at in reversed(times):
        if not found or at <= found[-1] - _APART:
            found.append(at)
            if len(found) == KEPT:
                break
    return found[::-1]


class _Now:
    """The story as it is now; times in seconds since the clients came."""

    def __init__(self, story: HostsStory) -> None:
        self._story = story

    def told(self, network: Network, note: str) -> dict[str, Any]:
        story, plan = self._story, self._story.plan
        soon = f"host {plan.host} will be {plan.deed}" if story.began else note
        return {
            "seconds": self._since(time.time()) or 0.0,
            "ahead": "" if story.struck is not None else soon,
            "struck": self._since(story.struck),
            "live": self._since(self._taken_over),
            "moments": [
                {"seconds": each.seconds, "text": each.text, "tone": each.tone}
                for each in story.moments
            ],
            "answers": [
                {
                    "name": each.name,
                    "count": len(each.answered),
                    "times": [round(self._since(t) or 0.0, 3) for t in _thinned(each.answered)],
                    "trouble": each.trouble,
                }
                for each in network.visitors
            ],
            "lines": network.lines(),
            "hosts": [self._host(name) for name in plan.hosts],
            "spans": [
                {
                    "guest": span.guest,
                    "host": span.host,
                    "role": str(span.role),
                    "begin": self._since(span.begin) or 0.0,
                    "end": self._since(span.end),
                }
                for span in story.spans
            ],
        }

    @property
    def _taken_over(self) -> float | None:
        """When the guest with clients was seen to be primary elsewhere, if it had to be."""
        story = self._story
        if story.struck is None or SERVER not in story.plan.struck:
            return None
        found = [
            span.begin
            for span in story.spans
            if (span.guest, span.role) == (SERVER, Role.PRIMARY) and span.begin > story.struck
        ]
        return min(found, default=None)

    def _host(self, name: str) -> dict[str, Any]:
        story = self._story
        running = sorted(story.running(host=name), key=lambda span: span.guest)
        return {
            "name": name,
            "state": story.states.get(name, ""),
            "master": name == story.master,
            "struck": name == story.plan.host and story.struck is not None,
            "replicas": [{"guest": span.guest, "role": str(span.role)} for span in running],
        }

    def _since(self, moment: float | None) -> float | None:
        began = self._story.began
        return None if moment is None or not began else max(0.0, moment - began)
