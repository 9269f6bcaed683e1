"""What is wrong, why, and what a person can do about it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from vlockstep.web import shapes

SILENT_SECONDS = 5.0
"""After which a master that tells nothing counts as silent."""
MOST_BROKEN = 50
"""Records, before what else is wrong."""
MOST = 200
"""The worst, of which the others are mostly consequences."""


def _problem(what: str, cause: str, target: str, do: str) -> shapes.Problem:
    return {"what": what, "cause": cause, "target": target, "do": do}


def problems_of_guests(guests: Mapping[str, shapes.Guest]) -> list[shapes.Problem]:
    """Of processes of this computer."""
    worst, others = [], []
    for name, guest in guests.items():
        target, status = f"guests/{name}", guest.get("status")
        if status is None:
            cause = "its process is stopped, or this computer is overloaded"
            worst.append(_problem(f"{name} does not answer", cause, target, "look at its process"))
            continue
        if guest["protection"] == "ALONE":
            worst.append(
                _problem(
                    f"{name} runs without another replica",
                    f"none has it in generation {status['generation']}",
                    target,
                    f"start a secondary that joins at {status['endpoint'] or 'its endpoint'}",
                )
            )
        if status["holding"]:
            cause = "no other replica has the guest, and its outputs wait for one"
            worst.append(
                _problem(f"{name} gives nothing out", cause, target, "start a secondary for it")
            )
        if status["network"] is False:
            others.append(
                _problem(
                    f"{name} has no network",
                    "none of its NICs is connected",
                    target,
                    "look at the tap, the passt or the switch behind it",
                )
            )
    return [*worst, *others][:MOST]


def problems_of_cluster(
    status: Mapping[str, Any] | None,
    now: float,
    hosts: Mapping[str, shapes.Host],
    guests: Iterable[shapes.Guest],
) -> list[shapes.Problem]:
    """As the master told its `status`; `now` is since the epoch."""
    found = list(_of_master(status, now))
    found += [
        _problem(
            f"{name} is {host['state']}",
            _SIGNS.get(host["state"]) or host["explanation"] or "the master says so",
            f"hosts/{name}",
            _CURES.get(host["state"], "look at that computer, and start its agent again"),
        )
        for name, host in sorted(hosts.items(), key=lambda each: each[1]["level"] != "bad")
        if host["level"] in ("bad", "warn")
    ]
    for guest in guests:
        if guest["level"] not in ("bad", "warn"):
            continue
        name = guest["name"]
        protection = guest["protection"]
        unknown = "what its host told last may be true no longer" if "unknown" in protection else ""
        cause = guest["pending"] or _CAUSES.get(protection, unknown)
        do = _RESTART if protection.startswith("off: ") else ""
        found.append(_problem(f"{name}: {protection}", cause, f"guests/{name}", do))
    if status is not None:
        found += [_problem("a rule does not hold", fault, "", "") for fault in status["faults"]]
    return found[:MOST]


def problems_of_records(broken: Iterable[tuple[str, str]]) -> list[shapes.Problem]:
    """Of a cluster's store: keys, and how what stands there is broken. All act as if it were not
    there."""
    return [
        _problem(
            f"the record {key} in the store is broken",
            why,
            _target_of(key),
            "run the same version on all hosts, if another has written it; else put it in the "
            "store again as it was, or delete it there",
        )
        for key, why in broken
    ][:MOST_BROKEN]


def _target_of(key: str) -> str:
    first, _, rest = key.partition("/")
    return f"{first}/{rest}" if first in ("guests", "hosts") else ""


def _of_master(status: Mapping[str, Any] | None, now: float) -> Iterable[shapes.Problem]:
    do = "see that the agents of at least one host run, and reach the store"
    if status is None:
        yield _problem("there is no master", "none has told anything yet", "", do)
    elif (late := now - status["time"]) > SILENT_SECONDS:
        master = status["master"]
        yield _problem(
            f"the master {master} is silent",
            f"it has told nothing for {late // 5 * 5:.0f} s: hosts and guests may stand otherwise",
            f"hosts/{master}",
            do,
        )


_RESTART = "read what it wrote on its console, mend that, and start it again"
_CURES = {
    "hostDown": "start that computer and its agent; its guests are started elsewhere",
    "fdmUnreachable": "start its agent again",
    "networkIsolated": "look at its management network",
    "networkPartitionedFromMaster": "look at the management network between them",
    "uninitialized": "look at what its agent says",
}
_SIGNS = {
    "hostDown": "no heartbeats, on the network or on datastores, and no answer to pings",
    "fdmUnreachable": "its agent does not answer, the host does",
}
_CAUSES = {
    "not protected": "it has no secondary yet, or has lost it",
    "not protected, its outputs wait": "it has no secondary, and its outputs wait for one",
}
