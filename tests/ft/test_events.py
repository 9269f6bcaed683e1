"""The events of a replica, as machines read them."""

from __future__ import annotations

import json

from vlockstep.arbiter import ReignCause
from vlockstep.ft import events
from vlockstep.machine.position import Position
from vlockstep.machine.registers import Registers
from vlockstep.net.nic import Counters
from vlockstep.protocol.states import State

PLACE = (Position(5, 2), Registers({"rip": 0x100000}), b"\1\xab")
EXAMPLES = [
    (events.Waiting("tcp://127.0.0.1:1"), {"event": "waiting", "endpoint": "tcp://127.0.0.1:1"}),
    (events.Joining("ipc:///a"), {"event": "joining", "endpoint": "ipc:///a"}),
    (events.Started(), {"event": "started"}),
    (
        events.Live(2, True, ReignCause.LOST, 212.5),
        {
            "event": "live",
            "generation": 2,
            "protected": True,
            "cause": "lost",
            "cause_text": "the connection to the primary was lost",
            "silent_ms": 212.5,
        },
    ),
    (events.Following(3), {"event": "following", "generation": 3}),
    (events.Alone(2), {"event": "alone", "generation": 2}),
    (events.Unprotected(), {"event": "unprotected"}),
    (events.Protected(), {"event": "protected"}),
    (events.Loading(), {"event": "loading"}),
    (
        events.Migrating("memory", "sending", 4096, 1, 7, 20, 2.5, 8192),
        {
            "event": "migrating",
            "phase": "memory",
            "text": "sending",
            "bytes": 4096,
            "rounds": 1,
            "lag_entries": 7,
            "throttle": 20,
            "pause_ms": 2.5,
            "left": 8192,
        },
    ),
    (
        events.DiskMoving("disk", "copying", "copying", 4096, 8192),
        {
            "event": "disk-moving",
            "disk": "disk",
            "phase": "copying",
            "text": "copying",
            "bytes": 4096,
            "total": 8192,
        },
    ),
    (
        events.DiskMoved("disk", "/new", "/old"),
        {"event": "disk-moved", "disk": "disk", "path": "/new", "before": "/old"},
    ),
    (
        events.Joined(3, 2, 4096, 1, 1.5),
        {
            "event": "joined",
            "generation": 3,
            "members": 2,
            "bytes": 4096,
            "rounds": 1,
            "pause_ms": 1.5,
        },
    ),
    (
        events.SwitchoverAnswered(0, "no"),
        {"event": "switchover", "generation": 0, "reason": "no"},
    ),
    (events.NetworkLost(), {"event": "network_lost"}),
    (events.NetworkBack(), {"event": "network_back"}),
    (events.Holding(), {"event": "holding"}),
    (events.HoldingOver(), {"event": "holding_over"}),
    (
        events.Finished(3, "", *PLACE),
        {
            "event": "finished",
            "status": 3,
            "reason": "",
            "position": "exits:5+2",
            "registers": {"rip": "0x100000"},
            "memory_digest": "01ab",
        },
    ),
    (events.Diverged("where\nwhy"), {"event": "diverged", "report": "where\nwhy"}),
    (events.Stopped("lost"), {"event": "stopped", "reason": "lost"}),
    (events.Left("SIGTERM"), {"event": "left", "reason": "SIGTERM"}),
    (events.Notice("look"), {"event": "notice", "text": "look"}),
    (
        events.Rejected("noise", "operator", 7),
        {"event": "rejected", "reason": "noise", "party": "operator", "total": 7},
    ),
    (
        events.Status("secondary", State.TAKING_OVER, 1, 9, 8, 2, 4096, nics={"net": Counters(1)}),
        {
            "event": "status",
            "role": "secondary",
            "state": "taking_over",
            "state_text": "catching up to take over",
            "generation": 1,
            "exits": 9,
            "entries": 8,
            "lag_entries": 2,
            "lag_ms": None,
            "log_bytes": 4096,
            "channel_bytes": 0,
            "disks": {},
            "network": None,
            "outputs_held": 0,
            "hold": False,
            "holding": False,
            "members": 1,
            "nics": {
                "net": {
                    "received": 1,
                    "received_bytes": 0,
                    "sent": 0,
                    "sent_bytes": 0,
                    "receive_dropped": 0,
                    "send_dropped": 0,
                    "capture_dropped": 0,
                }
            },
            "rejected": 0,
            "moves": [],
            "endpoint": "",
            "cause": "",
            "took_over": "",
            "silent_ms": None,
            "arbiter": None,
        },
    ),
    (events.Resuming(7, 3), {"event": "resuming", "entries": 7, "begin": 3}),
    (events.NotResumed("no log"), {"event": "not-resumed", "reason": "no log"}),
    (
        events.Reached("entry:5", *PLACE),
        {
            "event": "reached",
            "place": "entry:5",
            "position": "exits:5+2",
            "registers": {"rip": "0x100000"},
            "memory_digest": "01ab",
        },
    ),
    (
        events.Memory(4096, b"\xff", ""),
        {"event": "memory", "address": 4096, "content": "ff", "problem": ""},
    ),
]


def test_each_event_as_json() -> None:
    for event, expected in EXAMPLES:
        assert json.loads(json.dumps(event.to_dict())) == expected


def test_each_event_has_a_name_of_its_own() -> None:
    names = [kind.name for kind in events.Event.__subclasses__()]
    assert len(set(names)) == len(names)
    assert set(names) == {event.name for event, _ in EXAMPLES}
