"""Why generations begin."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Cause(StrEnum):
    """Why a generation was claimed, as its claimant says. It is for people and for counting: no
    decision depends on it. "" is not known, as of records that older versions have made."""

    STARTED = "started"
    RESUMED = "resumed"
    ADOPTED = "adopted"
    SILENCE = "silence"
    LOST = "lost"
    LEFT = "left"
    SWITCHOVER = "switchover"
    JOINED = "joined"
    WITHOUT = "without"
    DISK_MOVED = "disk-moved"
    RESET = "reset"


FAILOVERS = frozenset({Cause.SILENCE, Cause.LOST, Cause.LEFT})
"""A secondary took over without having been asked to."""
_TEXTS: Mapping[str, str] = {
    Cause.STARTED: "the guest was started",
    Cause.RESUMED: "the guest was resumed where its last owner's log ends",
    Cause.ADOPTED: "the guest, which ran, was to be protected",
    Cause.SILENCE: "the primary was silent",
    Cause.LOST: "the connection to the primary was lost",
    Cause.LEFT: "the primary had left",
    Cause.SWITCHOVER: "the primary handed over",
    Cause.JOINED: "another replica has joined",
    Cause.WITHOUT: "another replica is left out",
    Cause.DISK_MOVED: "a disk has moved",
    Cause.RESET: "the arbiter was reset",
}


def cause_text(cause: str) -> str:
    """For people; "" if it is not known."""
    return _TEXTS.get(cause, "")
