"""What events say to people, as formats of their fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

EVENTS = {
    "waiting": "waiting for a secondary at {endpoint}",
    "joining": "joining the primary at {endpoint}",
    "started": "the guest runs, protected",
    "loading": "receiving the state of the guest, which runs",
    "disk-moved": "the disk {disk} is {path} now",
    "joined": "another replica has joined: {members} have the guest",
    "resuming": "the guest is resumed, after {entries} entries of its last owner's log",
    "not-resumed": "the guest boots, since it cannot be resumed: {reason}",
    "live": "live as generation {generation}: {cause_text}",
    "following": "following the new primary, generation {generation}",
    "reached": "the guest stops at {place}, at {position}\n\n{registers}\n\n"
    "press Enter to go on, or write: memory ADDRESS LENGTH",
    "memory": "{shown}",
    "diverged": "{report}",
    "alone": "going on alone as generation {generation}",
    "unprotected": "the guest is no longer protected",
    "protected": "the guest is protected",
    "holding": "the guest's outputs wait until another replica has joined",
    "holding_over": "the guest's outputs do not wait for another replica any more",
    "network_lost": "network lost",
    "network_back": "network back",
    "finished": "the guest has ended with status {status}",
    "notice": "{text}",
    "rejected": "rejected: {reason}",
}
OF_A_LONE_PRIMARY = EVENTS | {
    "started": "the guest runs",
    "waiting": "other replicas may join at {endpoint}",
}
OF_A_SECONDARY = EVENTS | {
    "started": "following the primary",
    "waiting": "waiting for a guest at {endpoint}",
}
"""It is ready to, and cannot know whether the primary waits for others before the guest runs."""
_ELSEWHERE = {
    "left": "{reason}",
    "stopped": "{reason}",
    "disk-moving": "the disk {disk} moves: {text}, {bytes} of {total} bytes",
    "switchover": "asked to swap roles: generation {generation} rules {reason}",
    "reached": "the guest stops at {place}, at {position}",
}
"""Of events that a replica tells in other ways, or for who sits there."""


def text_of(event: Mapping[str, Any], started_as: object) -> str:
    """Of an event of a replica that was started in this role."""
    name = str(event["event"])
    if name == "dropped":
        return f"{event['count']} events are gone"
    if (name, started_as) == ("started", "unprotected"):
        return "the guest runs"
    texts = OF_A_SECONDARY if started_as == "secondary" else EVENTS
    if name == "live" and not event.get("cause_text"):  # of an older version
        return f"live as generation {event['generation']}"
    return {**texts, **_ELSEWHERE}.get(name, name).format(**event).rstrip()
