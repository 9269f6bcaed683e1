"""The protocol's states, and the one table that says what may happen in each of them.

`TABLE[role][state][event]` are the states to which `event` may lead when it comes in `state`, also
on the way to another one. A message that is not in the table is not heeded; any other event, and
any step that is not in it, is a bug and raises AssertionError.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class _Member(Enum):
    """One of them; there is no other that is equal to it."""

    __hash__ = object.__hash__  # which takes a tenth of what an Enum's takes


class State(_Member):
    # Primary
    WAITING = "waiting for secondaries"
    PROTECTED = "protected"
    CLAIMING = "asking the arbiter"  #     the primary or a secondary
    ALONE = "alone"
    BINDING = "waiting for who joins"
    TAKING_IN = "taking in who joins"
    HOLDING = "stopping for a switchover"
    HANDED_OVER = "handed over"
    FINISHING = "guest ended"
    ENDING = "ending the guest"
    # Secondary
    JOINING = "joining"
    LOADING = "receiving the guest's state"
    READY = "ready to follow"
    FOLLOWING = "following"
    PARTED = "connection lost"
    CANDIDATE = "looking who has received most"
    TAKING_OVER = "catching up to take over"
    DRAINED = "guest ended, waiting for the primary"
    # Both
    SWAPPED = "roles swapped"
    LIVE = "live"
    FINISHED = "finished"
    STOPPED = "stopped"


class Event(_Member):
    # Messages, by their names
    HELLO = "Hello"
    WELCOME = "Welcome"
    REFUSE = "Refuse"
    RULING = "Ruling"
    BATCH = "Batch"
    QUERY = "Query"
    ANSWER = "Answer"
    HAVE = "Have"
    HANDOVER = "Handover"
    FINISHED = "Finished"
    ENDED = "Ended"
    GOODBYE = "Goodbye"
    JOIN = "Join"
    LATER = "Later"
    INVITE = "Invite"
    MOVE_DISK = "MoveDisk"
    OPENED = "Opened"
    # Connections and time
    CONNECTED = "a connection stands"
    LOST = "a connection was lost"
    TICK = "time has passed"
    # The arbiter
    VERDICT = "the arbiter answered"
    RENEWED = "word of the lease came"
    # The guest
    APPEND = "the guest made entries"
    PERFORMED = "outputs were made"
    KEPT = "entries were kept"
    HELD = "the guest is held"
    CAPTURED = "the guest's state was taken"
    LOADED = "the guest's state is here"
    PROGRESS = "the guest took entries"
    DIVERGE = "the guest diverged"
    # People
    SWITCHOVER = "asked to swap roles"
    DROP = "asked to drop a replica"
    MOVE = "asked to move a disk"
    DECIDE = "a disk is to move now"
    LEAVE = "asked to leave"
    END = "asked to end the guest"


MESSAGES = frozenset(list(Event)[: list(Event).index(Event.CONNECTED)])

Row = Mapping[Event, frozenset[State]]
_S, _E = State, Event


def _row(*stay: Event, **to: tuple[State, ...]) -> Row:
    """Events that lead nowhere, and those that lead elsewhere, by their names."""
    return {event: frozenset() for event in stay} | {
        _E[name]: frozenset(states) for name, states in to.items()
    }


_UNBOUND = dict.fromkeys(
    ("GOODBYE", "LOST", "TICK", "DROP"),
    (_S.ALONE, _S.PROTECTED, _S.CLAIMING, _S.FINISHING, _S.FINISHED, _S.STOPPED),
)
"""Where the primary goes on that waits for a newcomer no longer."""
_LINKS = (_E.CONNECTED, _E.LOST)
_OVER: Row = {}

_PRIMARY: dict[State, Row] = {
    _S.WAITING: _row(
        _E.HELLO, _E.QUERY, _E.GOODBYE, *_LINKS, _E.SWITCHOVER,
        ANSWER=(_S.CLAIMING,), TICK=(_S.CLAIMING, _S.STOPPED), LEAVE=(_S.STOPPED,),
        END=(_S.STOPPED,),
    ),
    _S.PROTECTED: _row(
        _E.QUERY, _E.HAVE, _E.HANDOVER, _E.CONNECTED, _E.LOST, _E.APPEND, _E.HELD, _E.CAPTURED,
        _E.OPENED, _E.MOVE, _E.KEPT,
        HELLO=(_S.CLAIMING,), ANSWER=(_S.FINISHING, _S.BINDING), GOODBYE=(_S.CLAIMING,),
        RULING=(_S.STOPPED,), TICK=(_S.CLAIMING, _S.STOPPED, _S.FINISHING),
        PERFORMED=(_S.FINISHING,), SWITCHOVER=(_S.HOLDING,), DROP=(_S.CLAIMING,),
        LEAVE=(_S.HOLDING, _S.STOPPED), END=(_S.ENDING,), DECIDE=(_S.CLAIMING,),
        RENEWED=(_S.STOPPED,),
    ),
    _S.CLAIMING: _row(
        _E.HELLO, _E.QUERY, _E.ANSWER, _E.HAVE, _E.GOODBYE, *_LINKS, _E.APPEND, _E.PERFORMED,
        _E.HELD, _E.CAPTURED, _E.SWITCHOVER, _E.LEAVE, _E.END, _E.OPENED, _E.MOVE, _E.DECIDE,
        _E.RENEWED, _E.KEPT,
        RULING=(_S.SWAPPED, _S.STOPPED), TICK=(_S.STOPPED,),
        VERDICT=(_S.PROTECTED, _S.ALONE, _S.FINISHING, _S.FINISHED, _S.HOLDING, _S.ENDING,
                 _S.SWAPPED, _S.STOPPED),
    ),
    _S.ALONE: _row(
        _E.HELLO, _E.QUERY, _E.BATCH, _E.HAVE, _E.HANDOVER, *_LINKS, _E.APPEND, _E.HELD,
        _E.CAPTURED, _E.GOODBYE, _E.SWITCHOVER, _E.DROP, _E.MOVE, _E.KEPT,
        ANSWER=(_S.BINDING,), RULING=(_S.STOPPED,), PERFORMED=(_S.FINISHED,), LEAVE=(_S.FINISHED,),
        END=(_S.FINISHED,), TICK=(_S.CLAIMING,), DECIDE=(_S.CLAIMING,),
        RENEWED=(_S.STOPPED,),
    ),
    _S.BINDING: _row(
        _E.HELLO, _E.QUERY, _E.BATCH, _E.HAVE, _E.HANDOVER, _E.CONNECTED, _E.APPEND, _E.HELD,
        _E.PERFORMED, _E.SWITCHOVER, _E.MOVE, _E.KEPT,
        ANSWER=(_S.TAKING_IN,), RULING=(_S.STOPPED,), RENEWED=(_S.STOPPED,), **_UNBOUND,
        LEAVE=(_S.ALONE, _S.PROTECTED, _S.HOLDING, _S.FINISHING, _S.FINISHED, _S.STOPPED),
        END=(_S.ALONE, _S.PROTECTED, _S.ENDING, _S.FINISHING, _S.FINISHED),
    ),
    _S.TAKING_IN: _row(
        _E.HELLO, _E.QUERY, _E.BATCH, _E.HAVE, _E.HANDOVER, *_LINKS, _E.ANSWER, _E.APPEND, _E.HELD,
        _E.PERFORMED, _E.SWITCHOVER, _E.LEAVE, _E.END, _E.MOVE, _E.RENEWED, _E.KEPT,
        GOODBYE=(_S.CLAIMING,), RULING=(_S.STOPPED,), TICK=(_S.CLAIMING, _S.STOPPED),
        VERDICT=(_S.PROTECTED, _S.ALONE, _S.CLAIMING, _S.FINISHING, _S.FINISHED, _S.HOLDING,
                 _S.ENDING, _S.STOPPED),
    ),
    _S.HOLDING: _row(
        _E.QUERY, _E.HAVE, _E.CONNECTED, _E.APPEND, _E.SWITCHOVER, _E.LEAVE, _E.KEPT,
        HELLO=(_S.CLAIMING,), ANSWER=(_S.HANDED_OVER, _S.FINISHING),
        GOODBYE=(_S.CLAIMING,), RULING=(_S.STOPPED,), LOST=(_S.PROTECTED, _S.STOPPED),
        HELD=(_S.HANDED_OVER,),
        TICK=(_S.PROTECTED, _S.HANDED_OVER, _S.FINISHING, _S.CLAIMING, _S.STOPPED),
        PERFORMED=(_S.HANDED_OVER, _S.FINISHING), END=(_S.ENDING,),
        RENEWED=(_S.STOPPED,),
    ),
    _S.HANDED_OVER: _row(
        _E.HELLO, _E.QUERY, _E.ANSWER, _E.HAVE, *_LINKS, _E.PERFORMED, _E.SWITCHOVER, _E.LEAVE,
        _E.END, _E.RENEWED, _E.KEPT,
        RULING=(_S.SWAPPED, _S.STOPPED), GOODBYE=(_S.CLAIMING,),
        TICK=(_S.CLAIMING, _S.STOPPED),
    ),
    _S.FINISHING: _row(
        _E.HELLO, _E.QUERY, _E.HAVE, *_LINKS, _E.PERFORMED, _E.SWITCHOVER, _E.LEAVE, _E.END,
        _E.RENEWED, _E.KEPT,
        ANSWER=(_S.FINISHED,), GOODBYE=(_S.FINISHED,), RULING=(_S.FINISHED,),
        TICK=(_S.FINISHED,),
    ),
    _S.ENDING: _row(
        _E.HELLO, _E.QUERY, _E.HAVE, *_LINKS, _E.APPEND, _E.PERFORMED, _E.HELD, _E.SWITCHOVER,
        _E.LEAVE, _E.END, _E.RENEWED, _E.KEPT,
        ANSWER=(_S.FINISHED,), GOODBYE=(_S.FINISHED,), RULING=(_S.STOPPED,), TICK=(_S.FINISHED,),
    ),
    _S.SWAPPED: _OVER,
    _S.FINISHED: _OVER,
    _S.STOPPED: _OVER,
}  # fmt: skip
_SECONDARY: dict[State, Row] = {
    _S.JOINING: _row(
        *_LINKS, _E.LATER, _E.INVITE, _E.SWITCHOVER,
        RULING=(_S.STOPPED,), WELCOME=(_S.READY,), JOIN=(_S.LOADING,), REFUSE=(_S.STOPPED,),
        TICK=(_S.STOPPED,), LEAVE=(_S.STOPPED,), END=(_S.STOPPED,),
    ),
    _S.LOADING: _row(
        _E.QUERY, _E.HAVE, _E.CONNECTED, _E.SWITCHOVER,
        LOADED=(_S.READY,), REFUSE=(_S.STOPPED,), RULING=(_S.STOPPED,), LOST=(_S.STOPPED,),
        GOODBYE=(_S.STOPPED,), ENDED=(_S.STOPPED,), TICK=(_S.STOPPED,), LEAVE=(_S.STOPPED,),
        END=(_S.STOPPED,),
    ),
    _S.READY: _row(
        _E.HAVE, _E.CONNECTED, _E.WELCOME, _E.SWITCHOVER, _E.PROGRESS,
        QUERY=(_S.FOLLOWING,), BATCH=(_S.FOLLOWING, _S.STOPPED), RULING=(_S.PARTED, _S.STOPPED),
        REFUSE=(_S.STOPPED,), LOST=(_S.CLAIMING, _S.STOPPED), GOODBYE=(_S.STOPPED,),
        ENDED=(_S.STOPPED,), TICK=(_S.CLAIMING, _S.STOPPED), DIVERGE=(_S.STOPPED,),
        LEAVE=(_S.STOPPED,), END=(_S.STOPPED,),
    ),
    _S.FOLLOWING: _row(
        _E.QUERY, _E.WELCOME, _E.HAVE, _E.CONNECTED, _E.PROGRESS, _E.SWITCHOVER, _E.END,
        _E.MOVE_DISK,
        BATCH=(_S.STOPPED,), HANDOVER=(_S.TAKING_OVER, _S.CLAIMING),
        FINISHED=(_S.DRAINED, _S.FINISHED), GOODBYE=(_S.CANDIDATE, _S.CLAIMING),
        ENDED=(_S.STOPPED,), RULING=(_S.PARTED, _S.STOPPED), LOST=(_S.PARTED,),
        TICK=(_S.CANDIDATE, _S.CLAIMING), DIVERGE=(_S.STOPPED,),
        LEAVE=(_S.STOPPED,),
    ),
    _S.PARTED: _row(
        _E.QUERY, _E.HAVE, *_LINKS, _E.PROGRESS, _E.SWITCHOVER, _E.END,
        WELCOME=(_S.FOLLOWING,), BATCH=(_S.STOPPED,), GOODBYE=(_S.CANDIDATE, _S.CLAIMING),
        ENDED=(_S.STOPPED,), RULING=(_S.STOPPED,),
        TICK=(_S.CANDIDATE, _S.CLAIMING), DIVERGE=(_S.STOPPED,), LEAVE=(_S.STOPPED,),
    ),
    _S.CANDIDATE: _row(
        *_LINKS, _E.PROGRESS, _E.SWITCHOVER, _E.END, _E.GOODBYE,
        HAVE=(_S.CLAIMING,), TICK=(_S.CLAIMING,), WELCOME=(_S.FOLLOWING,), QUERY=(_S.FOLLOWING,),
        BATCH=(_S.FOLLOWING, _S.STOPPED), ENDED=(_S.STOPPED,), RULING=(_S.PARTED, _S.STOPPED),
        DIVERGE=(_S.STOPPED,), LEAVE=(_S.STOPPED,),
    ),
    _S.TAKING_OVER: _row(
        _E.QUERY, _E.HANDOVER, _E.WELCOME, _E.HAVE, *_LINKS, _E.SWITCHOVER, _E.END,
        PROGRESS=(_S.CLAIMING,), TICK=(_S.CLAIMING,), RULING=(_S.PARTED, _S.STOPPED),
        DIVERGE=(_S.STOPPED,), LEAVE=(_S.STOPPED,),
    ),
    _S.CLAIMING: _row(
        _E.QUERY, _E.HANDOVER, _E.HAVE, *_LINKS, _E.PROGRESS, _E.SWITCHOVER, _E.LEAVE, _E.END,
        VERDICT=(_S.LIVE, _S.PARTED, _S.STOPPED), TICK=(_S.STOPPED,),
        RULING=(_S.PARTED, _S.STOPPED), DIVERGE=(_S.STOPPED,),
    ),
    _S.DRAINED: _row(
        _E.FINISHED, _E.QUERY, *_LINKS, _E.TICK, _E.SWITCHOVER, _E.LEAVE, _E.END,
        PROGRESS=(_S.FINISHED,), DIVERGE=(_S.STOPPED,),
    ),
    _S.LIVE: _row(
        _E.HELLO, _E.QUERY, _E.BATCH, _E.HANDOVER, _E.HAVE, *_LINKS, _E.TICK, _E.PROGRESS,
        _E.SWITCHOVER, _E.LEAVE, _E.END,
        RULING=(_S.STOPPED,), DIVERGE=(_S.STOPPED,), RENEWED=(_S.STOPPED,),
    ),
    _S.FINISHED: _OVER,
    _S.STOPPED: _OVER,
}  # fmt: skip

TABLE: Mapping[str, Mapping[State, Row]] = {"primary": _PRIMARY, "secondary": _SECONDARY}
