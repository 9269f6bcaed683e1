"""Which replica is at the other end of which connection."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

from vlockstep.protocol import messages
from vlockstep.protocol.messages import PROTOCOL, Iam, Message, Refuse, Who
from vlockstep.wire.codec import MessageError

_LIMIT = 64
"""Connections that are remembered; who was forgotten says anew who it is."""


class Connections(Protocol):
    """The runtime's part of it; see `Runtime`."""

    def dial(self, endpoint: str) -> bytes | None: ...

    def hang_up(self, peer: bytes) -> None: ...

    def send(self, data: bytes, peer: bytes) -> bool: ...


class Links:
    """The connections of the replica `me`. A `peer` is what the runtime calls the other end of one.
    Those that are `known` are not forgotten for the sake of strangers, however many come."""

    def __init__(
        self, me: str, connections: Connections, known: Callable[[], Collection[str]]
    ) -> None:
        self._me = me
        self._connections = connections
        self._known = known
        self._peers: dict[str, bytes] = {}
        self._replicas: dict[bytes, str] = {}
        self._made: set[bytes] = set()
        """Those that this replica made."""
        self._dialed: dict[bytes, str] = {}
        """Those of them that lead to where another one is reached, and where that is."""

    def __contains__(self, replica: str) -> bool:
        return replica in self._peers

    @property
    def replicas(self) -> list[str]:
        """Who is connected, as far as is known."""
        return list(self._peers)

    @property
    def dialed(self) -> Collection[str]:
        """Where others are reached to whom this replica connects, or tries to."""
        return self._dialed.values()

    def dial(self, endpoint: str) -> bytes | None:
        """Connect to the replica that is reached there; what its peer is called. None if that
        cannot be tried."""
        peer = self._connections.dial(endpoint)
        if peer is not None:
            self._dialed[peer] = endpoint
        return peer

    def hang_up(self, endpoints: Collection[str], destination: bytes | None) -> None:
        """Connect no more to whom was dialed, but for those that are known, those that are reached
        at `endpoints`, and the peer `destination`."""
        known = self._known()
        for peer, endpoint in list(self._dialed.items()):
            kept = peer == destination or endpoint in endpoints
            if not kept and self._replicas.get(peer) not in known:
                del self._dialed[peer]
                self._made.discard(peer)
                self._forget_peer(peer)
                self._connections.hang_up(peer)

    def introduce(self, peer: bytes) -> None:
        """This replica made a connection: say whose it is."""
        self._made.add(peer)
        self.say(Iam(PROTOCOL, self._me), peer)

    def heard(self, peer: bytes, message: Message) -> str | None:
        """Who says this; "" if that is not known and does not matter. None if it was said for the
        connection's sake, or nobody knows by whom, who is asked then. Raises `MessageError` for
        another protocol."""
        match message:
            case Who():
                if peer in self._made:
                    self.introduce(peer)
                return None
            case Iam(version) if version != PROTOCOL:
                self.say(Refuse(f"it speaks protocol {PROTOCOL}, not {version}"), peer)
                raise MessageError(f"a replica that speaks protocol {version}, not {PROTOCOL}")
            case Iam(_, replica):
                self._introduced(peer, replica)
                return replica
        found = self._replicas.get(peer)
        if found is None and isinstance(message, Refuse) and peer in self._made:
            return ""
        if found is None and peer in self._made:
            self.introduce(peer)  # the other end answers with its own name
        elif found is None:
            self.say(Who(), peer)
        return found

    def _introduced(self, peer: bytes, replica: str) -> None:
        """The other end hears the same unless it was told."""
        self._forget_peer(self._peers.get(replica))
        self._forget_peer(peer)
        self._peers[replica], self._replicas[peer] = peer, replica
        if len(self._peers) > _LIMIT:
            known = self._known()
            strangers = (peer for replica, peer in self._peers.items() if replica not in known)
            self._forget_peer(next(strangers, peer))
        if peer not in self._made:
            self.say(Iam(PROTOCOL, self._me), peer)

    def at(self, peer: bytes) -> str | None:
        """Which replica is there, as far as is known."""
        return self._replicas.get(peer)

    def made(self, peer: bytes) -> bool:
        """Whether this replica made that connection."""
        return peer in self._made

    def lost(self, peer: bytes) -> str | None:
        """A connection dropped: whose it was."""
        replica = self._replicas.get(peer)
        self._forget_peer(peer)
        return replica

    def send(self, message: Message, replica: str) -> bool:
        """False if it is not connected."""
        peer = self._peers.get(replica)
        return peer is not None and self.say(message, peer)

    def say(self, message: Message, peer: bytes) -> bool:
        return self._connections.send(messages.encode(message), peer)

    def _forget_peer(self, peer: bytes | None) -> None:
        replica = None if peer is None else self._replicas.pop(peer, None)
        if replica is not None:
            del self._peers[replica]
