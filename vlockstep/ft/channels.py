"""All the channels of a replica: the one that it began with, and those to other members."""

from __future__ import annotations

import select
from collections.abc import Callable, Iterator

from vlockstep.errors import HostError
from vlockstep.wire.channel import Channel, Event
from vlockstep.wire.endpoint import is_anywhere
from vlockstep.wire.keys import Party

_LIMIT = 16
"""Channels of a replica; a guest has fewer members."""


class Numbered:
    """A channel among others. A peer's first byte tells on which one it is reached."""

    def __init__(self, number: int, channel: Channel) -> None:
        self.channel = channel
        self.listens = channel.listens
        self._head = bytes((number,))

    def peer(self, peer: bytes = b"") -> bytes:
        """What the replica calls this peer of the channel."""
        return self._head + peer


class Channels:
    """`first` leads to a primary, or listens for secondaries; `listener`, if there is one, listens
    for other members. `party` is by whose keys this replica speaks. `connect` makes the channel to
    another member, by where it listens and its party."""

    def __init__(
        self,
        first: Channel,
        listener: Channel | None = None,
        *,
        party: Party = Party.PRIMARY,
        connect: Callable[[str, Party], Channel] | None = None,
    ) -> None:
        self.first = first
        self._connect = connect
        self._party = party
        self._poller: select.poll | None = None
        self._channels = {0: Numbered(0, first)}
        self._dialed: dict[str, bytes] = {}
        if listener is not None:
            self._channels[1] = Numbered(1, listener)

    @property
    def endpoint(self) -> str:
        """Where other members reach this replica, and by which keys; "" if nowhere."""
        channels = self._channels.values()
        listening = [numbered.channel for numbered in channels if numbered.listens]
        if not listening or is_anywhere(listening[0].endpoint):
            return ""
        return f"{self._party} {listening[0].endpoint}"

    def watch(self, poller: select.poll) -> None:
        """Let the poller watch them all, also those to come."""
        self._poller = poller
        for numbered in self._channels.values():
            self._register(numbered.channel)

    def dial(self, endpoint: str) -> bytes:
        """Connect to the member that is reached there, unless that was asked before; what its peer
        is called. Raises a `VlockstepError` if nobody can be reached there."""
        if endpoint in self._dialed:
            return self._dialed[endpoint]
        if self._connect is None:
            raise HostError(f"{endpoint} cannot be reached from here")
        if len(self._channels) >= _LIMIT:
            raise HostError(f"{endpoint} is one of more than {_LIMIT} members")
        party, _, where = endpoint.partition(" ")
        if party not in (Party.PRIMARY, Party.SECONDARY):
            raise HostError(f"{endpoint!r} is no place where a member listens")
        channel = self._connect(where, Party(party))
        number = next(n for n in range(_LIMIT) if n not in self._channels)
        numbered = self._channels[number] = Numbered(number, channel)
        self._register(channel)
        self._dialed[endpoint] = numbered.peer()
        return numbered.peer()

    def hang_up(self, peer: bytes) -> None:
        """Close a channel that was dialed; another one may have its number. Not while `events` are
        read."""
        assert self._poller is not None
        channel = self._channels.pop(peer[0]).channel
        self._dialed = {e: dialed for e, dialed in self._dialed.items() if dialed != peer}
        for descriptor in channel.descriptors:
            self._poller.unregister(descriptor)
        channel.close(at_once=True)

    def send(self, data: bytes, peer: bytes) -> bool:
        """False if the peer is gone."""
        return self._channels[peer[0]].channel.send(data, peer[1:])

    def accepted(self, peer: bytes) -> bool:
        """Whether it was the peer that made the connection, and not this replica."""
        return self._channels[peer[0]].listens

    def pending(self) -> bool:
        """Whether something has happened on any of them."""
        return any(numbered.channel.pending() for numbered in self._channels.values())

    def events(self) -> Iterator[tuple[Numbered, Event]]:
        """What has happened on each. There may be more."""
        for numbered in list(self._channels.values()):
            for event in numbered.channel.events():
                yield numbered, event

    def close(self) -> None:
        for numbered in self._channels.values():
            numbered.channel.close()

    def _register(self, channel: Channel) -> None:
        assert self._poller is not None
        for descriptor in channel.descriptors:
            self._poller.register(descriptor, select.POLLIN)
