"""All the channels of a replica: the one that it began with, and those to other members."""

from __future__ import annotations

import select
from collections.abc import Callable, Iterator

from vlockstep.errors import HostError
from vlockstep.wire.channel import Channel, Event

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
    for other members. `endpoint` is where these reach this replica, "" if nowhere. `connect` makes
    the channel to another member by where it is reached."""

    def __init__(
        self,
        first: Channel,
        *,
        listener: Channel | None = None,
        endpoint: str = "",
        connect: Callable[[str], Channel] | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._connect = connect
        self._poller: select.poll | None = None
        self._channels = [Numbered(0, first)]
        self._dialed: set[str] = set()
        if listener is not None:
            self._channels.append(Numbered(1, listener))

    def watch(self, poller: select.poll) -> None:
        """Let the poller watch them all, also those to come."""
        self._poller = poller
        for numbered in self._channels:
            self._register(numbered.channel)

    def dial(self, endpoint: str) -> None:
        """Connect to the member that is reached there, unless that was asked before. Raises a
        `VlockstepError` if nobody can be reached there."""
        if endpoint in self._dialed or self._connect is None:
            return
        if len(self._channels) >= _LIMIT:
            raise HostError(f"{endpoint} is one of more than {_LIMIT} members")
        self._dialed.add(endpoint)
        channel = self._connect(endpoint)
        self._channels.append(Numbered(len(self._channels), channel))
        self._register(channel)

    def send(self, data: bytes, peer: bytes) -> bool:
        """False if the peer is gone."""
        return self._channels[peer[0]].channel.send(data, peer[1:])

    def pending(self) -> bool:
        """Whether something has happened on any of them."""
        return any(numbered.channel.pending() for numbered in self._channels)

    def events(self) -> Iterator[tuple[Numbered, Event]]:
        """What has happened on each. There may be more."""
        for numbered in self._channels[:]:
            for event in numbered.channel.events():
                yield numbered, event

    def close(self) -> None:
        for numbered in self._channels:
            numbered.channel.close()

    def _register(self, channel: Channel) -> None:
        assert self._poller is not None
        for descriptor in channel.descriptors:
            self._poller.register(descriptor, select.POLLIN)
