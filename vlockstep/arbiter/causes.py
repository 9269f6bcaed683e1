"""Why generations begin."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class ReignCause(StrEnum):
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


FAILOVERS = frozenset({ReignCause.SILENCE, ReignCause.LOST, ReignCause.LEFT})
"""A secondary took over without having been asked to."""
_TEXTS: Mapping[str, str] = {
    ReignCause.STARTED: "the guest was started",
    ReignCause.RESUMED: "the guest was resumed where its last owner's log ends",
    ReignCause.ADOPTED: "the guest, which ran, was to be protected",
    ReignCause.SILENCE: "the primary was silent",
    ReignCause.LOST: "the connection to the primary was lost",
    ReignCause.LEFT: "the primary had left",
    ReignCause.SWITCHOVER: "the primary handed over",
    ReignCause.JOINED: "another replica has joined",
    ReignCause.WITHOUT: "another replica is left out",
    ReignCause.DISK_MOVED: "a disk has moved",
    ReignCause.RESET: "the arbiter was reset",
}


def cause_text(cause: str) -> str:
    """For people; "" if it is not known."""
    return _TEXTS.get(cause, "")
