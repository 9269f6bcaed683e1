"""How switches with trunks stay a tree, without any I/O.

Theory of operation. A switch has one trunk at most that leads up, to its parent; so a loop can only
be one in which each switch is below the next. Before a trunk carries anything, its lower switch
asks whether the way up has an end: a `Probe` goes from parent to parent, also through those that
are still asking themselves, and each adds itself to the path. A switch without a parent, and that
asks for none, answers with a `Verdict`, which goes back down the same way. Who gets its own probe
back would close a loop.

So no loop is ever closed, not even for a moment. Of all trunks of a loop, take the one whose switch
began last to ask: its probes find all the others asking already, or below their parents, and come
back instead of finding an end.

Several switches of one loop may be asking at once. Then the one with the greatest identity is
refused, and the others ask again until it has given up.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from vlockstep.net.portmessages import MAX_DEPTH, PROTOCOL, Probe, TrunkHello, Verdict


class State(Enum):
    ROOT = auto()
    """Without a parent, and not asking for one."""
    ASKING = auto()
    CHILD = auto()
    """Below its parent: the trunk carries frames."""
    REFUSED = auto()
    """As a root, for a reason."""


@dataclass(frozen=True, slots=True)
class Up:
    """Send `message` to the parent."""

    message: Probe


@dataclass(frozen=True, slots=True)
class Down:
    """Send `message` to the child with the identity that is the last of its path."""

    message: Verdict


class Tree:
    """The place of one switch in it. `name` is for people."""

    def __init__(self, identity: str, name: str) -> None:
        self.state = State.ROOT
        self.reason = ""
        """Why it is refused."""
        self._identity = identity
        self._name = name
        self._attempt = 0

    def ask(self) -> TrunkHello:
        """There is a connection to a parent, or it is time to ask again who has refused."""
        self.state, self.reason = State.ASKING, ""
        self._attempt += 1
        return self.hello()

    def hello(self) -> TrunkHello:
        """What was not answered yet, once more."""
        return TrunkHello(PROTOCOL, self._identity, self._name, self._attempt)

    def lost(self) -> None:
        """The connection to the parent is over."""
        self.state = State.ROOT

    def refused(self, reason: str) -> None:
        """By the parent, or because there would be a loop."""
        if self.state is State.ASKING:
            self.state, self.reason = State.REFUSED, reason

    def asked(self, hello: TrunkHello) -> Up | Down | None:
        """A child says `hello`."""
        path = {hello.identity: hello.name}
        return self.probed(hello.identity, Probe(hello.attempt, path, hello.identity))

    def probed(self, child: str, probe: Probe) -> Up | Down | None:
        """`probe` comes from a child."""
        path = probe.path
        if not path or next(reversed(path)) != child:
            return None
        if self._identity in path:
            self._returned(probe)
            return None
        if self.state not in (State.ASKING, State.CHILD):
            return Down(Verdict(probe.attempt, path, ""))
        if len(path) >= MAX_DEPTH - 1:
            reason = f"there would be more than {MAX_DEPTH} switches in a row"
            return Down(Verdict(probe.attempt, path, reason))
        greatest = probe.greatest
        if self.state is State.ASKING:
            greatest = max(greatest, self._identity)
        return Up(Probe(probe.attempt, path | {self._identity: self._name}, greatest))

    def judged(self, verdict: Verdict) -> Down | None:
        """`verdict` comes from the parent."""
        *before, last = verdict.path or ("",)
        if last != self._identity:
            return None
        if before:
            path = {identity: verdict.path[identity] for identity in before}
            return Down(Verdict(verdict.attempt, path, verdict.reason))
        if self.state is State.ASKING and verdict.attempt == self._attempt:
            if verdict.reason:
                self.refused(verdict.reason)
            else:
                self.state = State.CHILD
        return None

    def _returned(self, probe: Probe) -> None:
        """A probe has come here before: there would be a loop. Who began it decides."""
        mine = next(iter(probe.path)) == self._identity and probe.attempt == self._attempt
        if mine and probe.greatest == self._identity:
            way = " to ".join((*probe.path.values(), self._name))
            self.refused(f"it would close a loop of switches, from {way}")
