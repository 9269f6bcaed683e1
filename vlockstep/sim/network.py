"""The connections between simulated hosts: slow, cut, lost and made again.

As with ZeroMQ over TCP, one side listens and the other connects. A connection delivers in order a
prefix of what was sent on it; each side learns in its own time that it was lost.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vlockstep.protocol.timing import MILLISECOND

if TYPE_CHECKING:
    from vlockstep.sim.host import SimulatedHost
    from vlockstep.sim.simulation import Simulation

_RECONNECT = 5 * MILLISECOND
_DAMAGED = 0.3


@dataclass(slots=True, eq=False)
class _Connection:
    maker: SimulatedHost
    listener: SimulatedHost
    number: int
    lost: bool = False
    noticed: set[str] = field(default_factory=set)
    """Who knows that it is lost."""
    due: dict[str, int] = field(default_factory=dict)
    """By receiver: when the last message sent to it arrives."""
    cut_short: dict[str, int] = field(default_factory=dict)
    """By receiver: nothing arrives any more that is due at this time or later."""

    @property
    def ends(self) -> tuple[SimulatedHost, SimulatedHost]:
        return self.maker, self.listener

    def peer(self, host: SimulatedHost) -> bytes:
        """What `host` calls the other end: who connects the same as before, who listens anew."""
        if host is self.maker:
            return f"to {self.listener.name}".encode()
        return b"connection %d" % self.number

    def other(self, host: SimulatedHost) -> SimulatedHost:
        return self.listener if host is self.maker else self.maker


class Network:
    """`delays` are the least and the greatest time of a message, in nanoseconds."""

    def __init__(
        self, simulation: Simulation, chance: random.Random, delays: tuple[int, int]
    ) -> None:
        self._simulation = simulation
        self._chance = chance
        self._delays = delays
        self._cut: set[str] = set()
        self._split: set[frozenset[str]] = set()
        self.garbled: set[str] = set()
        """To whom messages arrive damaged, some of them."""
        self._held: list[tuple[_Connection, SimulatedHost, bytes]] = []
        self._connections: list[_Connection] = []
        self._dialed: set[tuple[str, str]] = set()

    def dial(self, maker: SimulatedHost, listener: SimulatedHost) -> None:
        """Connect them, now and whenever their connection is lost."""
        if (maker.name, listener.name) not in self._dialed:
            self._dialed.add((maker.name, listener.name))
            self._simulation.after(self._delay(), lambda: self._connect(maker, listener))

    def hang_up(self, maker: SimulatedHost, listener: SimulatedHost) -> None:
        """Let their connection be lost, with some of what is under way, and not be made again.
        Nothing more of it comes to the maker."""
        self._dialed.remove((maker.name, listener.name))
        for connection in self._connections:
            if connection.ends == (maker, listener):
                if not connection.lost:
                    self._lose(connection)
                connection.noticed.add(maker.name)
                connection.cut_short[maker.name] = self._simulation.now

    def _connect(self, maker: SimulatedHost, listener: SimulatedHost) -> None:
        dialed = (maker.name, listener.name) in self._dialed
        if listener.over or maker.over or not dialed or self._stands(maker, listener):
            return
        if self._cut & {maker.name, listener.name} or self._splits(maker, listener):
            self._simulation.after(_RECONNECT, lambda: self._connect(maker, listener))
            return
        connection = _Connection(maker, listener, len(self._connections))
        self._connections.append(connection)
        maker.do("connected", lambda: maker.replica.connected(connection.peer(maker)))

    def send(self, sender: SimulatedHost, data: bytes, peer: bytes) -> bool:
        connection = self._usable(sender, peer)
        if connection is None:
            return False
        receiver = connection.other(sender)
        if connection.lost or receiver.over:
            return True  # nobody knows yet
        due = self._simulation.now + self._delay()
        due = connection.due[receiver.name] = max(due, connection.due.get(receiver.name, 0))
        self._simulation.at(due, lambda: self._arrive(connection, receiver, data, due))
        return True

    def cut(self, towards: Iterable[str]) -> None:
        """Hold back what is sent to these."""
        self._cut.update(towards)

    def split(self, one: str, other: str) -> None:
        """Hold back what these two send to each other."""
        self._split.add(frozenset({one, other}))

    def heal(self) -> None:
        self._cut.clear()
        self._split.clear()
        held, self._held = self._held, []
        for connection, receiver, data in held:
            self._deliver(connection, receiver, data)

    def drop(self, host: SimulatedHost | None = None) -> None:
        """All connections, or those of one host, are lost with some of what is under way, and soon
        made again."""
        for connection in self._connections:
            if connection.lost or (host is not None and host not in connection.ends):
                continue
            self._lose(connection)

    def _lose(self, connection: _Connection) -> None:
        connection.lost = True
        self._held = [held for held in self._held if held[0] is not connection]
        for end in connection.ends:
            delay = self._delay()
            connection.cut_short[end.name] = self._simulation.now + delay
            self._simulation.after(delay, self._notice(connection, end))

    def _notice(self, connection: _Connection, host: SimulatedHost) -> Callable[[], None]:
        maker, listener = connection.ends

        def notice() -> None:
            if host.name in connection.noticed:
                return
            connection.noticed.add(host.name)
            if host is listener:
                host.do("disconnected", host.replica.probe)
            else:
                peer = connection.peer(host)
                host.do("disconnected", lambda: host.replica.disconnected(peer))
                self._simulation.after(self._delay(), lambda: self._connect(maker, listener))

        return notice

    def _usable(self, sender: SimulatedHost, peer: bytes) -> _Connection | None:
        """The connection that the sender believes to have."""
        for connection in reversed(self._connections):
            if sender in connection.ends and connection.peer(sender) == peer:
                return None if sender.name in connection.noticed else connection
        return None

    def _stands(self, maker: SimulatedHost, listener: SimulatedHost) -> bool:
        return any(c.ends == (maker, listener) and not c.lost for c in self._connections)

    def _splits(self, one: SimulatedHost, other: SimulatedHost) -> bool:
        return frozenset({one.name, other.name}) in self._split

    def _arrive(
        self, connection: _Connection, receiver: SimulatedHost, data: bytes, due: int
    ) -> None:
        if due >= connection.cut_short.get(receiver.name, due + 1):
            return
        if receiver.name in self._cut or self._splits(*connection.ends):
            self._held.append((connection, receiver, data))
        else:
            self._deliver(connection, receiver, data)

    def _deliver(self, connection: _Connection, receiver: SimulatedHost, data: bytes) -> None:
        if receiver.name in self.garbled and self._chance.random() < _DAMAGED:
            place = self._chance.randrange(len(data))
            data = data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :]
        peer = connection.peer(receiver)
        receiver.do("receive", lambda: receiver.replica.arrived(peer, data))

    def _delay(self) -> int:
        return self._chance.randint(*self._delays)
