"""How an event stands: whether a person should look at it. Pure."""

from __future__ import annotations

import re

from vlockstep.arbiter.causes import ReignCause
from vlockstep.cluster.records import TEST
from vlockstep.web import shapes

_BAD = re.compile("fail|diverg|lost|dead|down|refus|dropped|error|isolat|panic", re.I)
_WARN = re.compile("alone|silent|unprotect|maintenance|slow|pending|warn|cancel|holding$", re.I)
_GOOD = re.compile("live|protected|done|joined|migrated|moved|switched", re.I)
_TAKEOVERS = ("live", "guest-failed-over")
_ASKED_FOR = (ReignCause.SWITCHOVER, ReignCause.RESUMED, TEST)


def level_of_event(event: shapes.Event) -> shapes.Level:
    """A takeover that somebody has asked for is none to look at, whatever is said of it."""
    kind, details = event["kind"], event.get("details", {})
    if kind in _TAKEOVERS:
        return "good" if details.get("cause") in _ASKED_FOR else "warn"
    if _BAD.search(kind):
        return "bad"
    if _WARN.search(kind) or _BAD.search(event["text"]):
        return "warn"
    return "good" if _GOOD.search(kind) else "plain"
