"""Clients of the guests `tally` and `kv`: send numbered requests, and keep what they were told."""

from __future__ import annotations

import random
from dataclasses import replace

import msgpack

from vlockstep.net.portmessages import parse_mac
from vlockstep.protocol.timing import MILLISECOND, SECOND
from vlockstep.sim.linear import Operation
from vlockstep.sim.schedule import Schedule
from vlockstep.sim.scripted import CLIENTS, HEADER, REPLY
from vlockstep.sim.simulation import GUEST_MAC, Simulation

_ADDRESSES = parse_mac(GUEST_MAC) + parse_mac("02:00:00:00:00:02") + b"\x88\xb5"
_PATIENCE = 30 * MILLISECOND
_MOST_PATIENCE = 600 * SECOND
_LEAST_FRAME = 60
_HASTY = 0.2
"""How many requests are given up when the first patience is over."""
_COMMANDS = (b"GET", b"GET", b"SET", b"INCR", b"DEL", b"APPEND")
_KEYS = (b"a", b"b")


def start_clients(simulation: Simulation, schedule: Schedule) -> Client | KvClients | None:
    """Those that the schedule's guest is there for, if any."""
    match schedule.program:
        case "tally":
            return Client(simulation, schedule.size)
        case "kv":
            return KvClients(simulation, schedule.size)
    return None


class Client:
    """Sends request n + 1 once it has the reply to n, and each one again until it has; at last the
    one after `requests`, with which the guest ends."""

    def __init__(self, simulation: Simulation, requests: int) -> None:
        self.replies: list[bytes] = []
        self.complaints: list[str] = []
        self._simulation = simulation
        self._requests = requests
        self._chain = 0
        simulation.on_frame = self._received
        simulation.on_restart = self._begin_again
        simulation.after(MILLISECOND, self._ask)

    def _begin_again(self) -> None:
        """With a guest that knows nothing of what was before."""
        self.replies.clear()
        self._chain = 0
        self._simulation.after(MILLISECOND, self._ask)

    def _ask(self, patience: int = _PATIENCE) -> None:
        """Send the request without a reply, now and again after twice as long each time, up to a
        limit."""
        asked = len(self.replies)

        def again() -> None:
            if len(self.replies) == asked and not self._simulation.over:
                self._ask(min(2 * patience, _MOST_PATIENCE))

        frame = _ADDRESSES + (asked + 1).to_bytes(8, "little")
        self._simulation.broadcast(frame.ljust(_LEAST_FRAME, b"\0"))
        self._simulation.after(patience, again)

    def _received(self, frame: bytes) -> None:
        if frame[12:HEADER] != _ADDRESSES[12:]:
            return
        number, before, after = REPLY.unpack_from(frame, HEADER)
        asked = len(self.replies) + 1
        if number < asked and self.replies[number - 1] != frame:
            self.complaints.append(f"reply {number} came again, and was another")
        elif number > asked:
            self.complaints.append(f"reply {number} came to request {asked}")
        elif number == asked and before != self._chain:
            self.complaints.append(f"reply {number} follows a reply that never came")
        elif number == asked:
            self.replies.append(frame)
            self._chain = after
            self._simulation.after(MILLISECOND, self._ask)


class KvClients:
    """All clients of the guest `kv`. `history` is what they did, one as soon as the other."""

    def __init__(self, simulation: Simulation, requests: int) -> None:
        self._clients = [_KvClient(simulation, n, requests) for n in range(CLIENTS)]
        simulation.on_frame = self._received

    @property
    def history(self) -> list[Operation]:
        return [operation for client in self._clients for operation in client.history]

    def _received(self, frame: bytes) -> None:
        if frame[12:HEADER] == _ADDRESSES[12:]:
            client, number, reply = msgpack.unpackb(frame[HEADER:])
            self._clients[client].received(number, reply)


class _KvClient:
    """Sends request n + 1 once it has the reply to n or has given that up, and each one again
    meanwhile; the one after `requests` is its last."""

    def __init__(self, simulation: Simulation, number: int, requests: int) -> None:
        self.history: list[Operation] = []
        self._simulation = simulation
        self._number = number
        self._requests = requests
        self._chance = random.Random(f"client {number} {simulation.seed}")
        simulation.after(MILLISECOND, self._begin)

    def _begin(self) -> None:
        asked = len(self.history) + 1
        if asked <= self._requests + 1:
            words = self._words(asked)
            self.history.append(Operation(f"client {self._number}", words, self._simulation.now))
            self._ask(asked, hasty=asked <= self._requests and self._chance.random() < _HASTY)

    def _words(self, asked: int) -> tuple[bytes, ...]:
        command, key = self._chance.choice(_COMMANDS), self._chance.choice(_KEYS)
        value = b"%d%d" % (asked, self._number)  # that nobody else sets
        return (command, key, value) if command in (b"SET", b"APPEND") else (command, key)

    def _ask(self, asked: int, patience: int = _PATIENCE, *, hasty: bool) -> None:
        def again() -> None:
            if len(self.history) > asked or self._answered or self._simulation.over:
                return
            if hasty:
                self._begin()
            else:
                self._ask(asked, min(2 * patience, _MOST_PATIENCE), hasty=False)

        request = msgpack.packb((self._number, asked, self.history[-1].words))
        self._simulation.broadcast(_ADDRESSES + request)
        self._simulation.after(patience, again)

    @property
    def _answered(self) -> bool:
        return self.history[-1].returned is not None

    def received(self, number: int, reply: bytes | int | str | None) -> None:
        if number == len(self.history) and not self._answered:
            self.history[-1] = replace(self.history[-1], returned=self._simulation.now, reply=reply)
            self._simulation.after(self._chance.randrange(2 * MILLISECOND), self._begin)
