"""The connection between two simulated hosts: slow, cut, lost and made again.

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
    peer: bytes
    """What the listener calls the other side."""
    lost: bool = False
    noticed: set[str] = field(default_factory=set)
    """Who knows that it is lost."""
    due: dict[str, int] = field(default_factory=dict)
    """By receiver: when the last message sent to it arrives."""
    cut_short: dict[str, int] = field(default_factory=dict)
    """By receiver: nothing arrives any more that is due at this time or later."""


class Network:
    """`delays` are the least and the greatest time of a message, in nanoseconds."""

    def __init__(
        self, simulation: Simulation, chance: random.Random, delays: tuple[int, int]
    ) -> None:
        self._simulation = simulation
        self._chance = chance
        self._delays = delays
        self._cut: set[str] = set()
        self.garbled: set[str] = set()
        """To whom messages arrive damaged, some of them."""
        self._held: list[tuple[_Connection, SimulatedHost, bytes]] = []
        self._connections: list[_Connection] = []

    def connect(self) -> None:
        """The side that connects has a new connection."""
        if self._cut:
            self._simulation.after(_RECONNECT, self.connect)
            return
        listener, connector = self._simulation.hosts
        if listener.over or connector.over:
            return
        self._connections.append(_Connection(b"connection %d" % len(self._connections)))
        listener.do("connected", listener.replica.connected)
        connector.do("connected", connector.replica.connected)

    def send(self, sender: SimulatedHost, data: bytes, peer: bytes) -> bool:
        connection = self._usable(sender, peer)
        if connection is None:
            return False
        receiver = self._simulation.peer(sender)
        if connection.lost or receiver.over:
            return True  # nobody knows yet
        due = self._simulation.now + self._delay()
        due = connection.due[receiver.name] = max(due, connection.due.get(receiver.name, 0))
        self._simulation.at(due, lambda: self._arrive(connection, receiver, data, due))
        return True

    def cut(self, towards: Iterable[str]) -> None:
        """Hold back what is sent to these."""
        self._cut.update(towards)

    def heal(self) -> None:
        self._cut.clear()
        held, self._held = self._held, []
        for connection, receiver, data in held:
            self._deliver(connection, receiver, data)

    def drop(self) -> None:
        """The connection is lost, with some of what is under way, and soon made again."""
        for connection in self._connections:
            if connection.lost:
                continue
            connection.lost = True
            self._held = [held for held in self._held if held[0] is not connection]
            for host in self._simulation.hosts:
                delay = self._delay()
                connection.cut_short[host.name] = self._simulation.now + delay
                self._simulation.after(delay, self._notice(connection, host))

    def _notice(self, connection: _Connection, host: SimulatedHost) -> Callable[[], None]:
        def notice() -> None:
            connection.noticed.add(host.name)
            if host.listens:
                host.do("disconnected", host.replica.probe)
            else:
                host.do("disconnected", host.replica.disconnected)
                self._simulation.after(self._delay(), self.connect)

        return notice

    def _usable(self, sender: SimulatedHost, peer: bytes) -> _Connection | None:
        """The connection that the sender believes to have."""
        for connection in reversed(self._connections):
            if connection.peer == peer or not sender.listens:
                return None if sender.name in connection.noticed else connection
        return None

    def _arrive(
        self, connection: _Connection, receiver: SimulatedHost, data: bytes, due: int
    ) -> None:
        if due >= connection.cut_short.get(receiver.name, due + 1):
            return
        if receiver.name in self._cut:
            self._held.append((connection, receiver, data))
        else:
            self._deliver(connection, receiver, data)

    def _deliver(self, connection: _Connection, receiver: SimulatedHost, data: bytes) -> None:
        origin = connection.peer if receiver.listens else b""
        if receiver.name in self.garbled and self._chance.random() < _DAMAGED:
            place = self._chance.randrange(len(data))
            data = data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :]
        receiver.do("receive", lambda: receiver.replica.arrived(origin, data))

    def _delay(self) -> int:
        return self._chance.randint(*self._delays)
