"""All the channels of a replica, which outlives many others."""

from __future__ import annotations

import select
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from vlockstep.errors import HostError
from vlockstep.ft.channels import Channels, Numbered
from vlockstep.testing.process import TIMEOUT
from vlockstep.wire import channel
from vlockstep.wire.channel import Arrived, Channel, Connected, Event, connect, listen
from vlockstep.wire.keys import Party

MOST = 14
"""Besides the channel to the primary, and that which listens."""


class Replica:
    """One that listens, and connects to others."""

    def __init__(self, directory: Path) -> None:
        self._poller = select.poll()
        first = connect(f"ipc://{directory / 'primary'}", None, look=False)
        listener = listen(f"ipc://{directory / 'listener'}", None)
        self.channels = Channels(first, listener, connect=self._reach)
        self.channels.watch(self._poller)

    def _reach(self, endpoint: str, party: Party) -> Channel:
        return connect(endpoint, None, party, look=False)

    def close(self) -> None:
        self.channels.close()

    def wait(self, awaited: Event) -> Numbered:
        """On which channel it happens."""
        while True:
            for numbered, event in self.channels.events():
                if event == awaited:
                    return numbered
            assert self._poller.poll(TIMEOUT * 1000), "nothing happened"


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[Replica]:
    with closing(Replica(tmp_path)) as made:
        yield made


def place(directory: Path, number: int) -> str:
    return f"ipc://{directory / str(number)}"


def test_one_after_the_other_is_reached(replica: Replica, tmp_path: Path) -> None:
    """However many there have been before."""
    for number in range(3 * MOST):
        with closing(listen(place(tmp_path, number), None)) as other:
            peer = replica.channels.dial(f"secondary {other.endpoint}")
            assert replica.wait(Connected()).peer() == peer
            assert replica.channels.send(b"%d" % number, peer)
            while not (arrived := [e for e in other.events() if isinstance(e, Arrived)]):
                assert any(select.select(other.descriptors, [], [], TIMEOUT)), "nothing came"
            assert arrived[0].data == b"%d" % number
            assert other.send(b"answer %d" % number, arrived[0].peer)
            assert replica.wait(Arrived(b"", b"answer %d" % number)).peer() == peer
        replica.channels.hang_up(peer)


def test_others_stay_when_one_is_hung_up_on(replica: Replica, tmp_path: Path) -> None:
    with ExitStack() as stack:
        others = [stack.enter_context(closing(listen(place(tmp_path, n), None))) for n in range(3)]
        peers = [replica.channels.dial(f"secondary {other.endpoint}") for other in others]
        for _ in peers:
            replica.wait(Connected())
        replica.channels.hang_up(peers[1])
        again = replica.channels.dial(f"secondary {others[1].endpoint}")
        assert replica.wait(Connected()).peer() == again
        assert len({peers[0], again, peers[2]}) == 3
        for other, peer in zip(others, (peers[0], again, peers[2]), strict=True):
            assert replica.channels.dial(f"secondary {other.endpoint}") == peer
            assert replica.channels.send(b"word", peer)
            while not any(isinstance(event, Arrived) for event in other.events()):
                assert any(select.select(other.descriptors, [], [], TIMEOUT)), "nothing came"


def test_hanging_up_waits_for_nobody(
    replica: Replica, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who takes nothing of what it is sent, or is not there."""
    monkeypatch.setattr(channel, "_LINGER", -1)  # who waits does so for ever
    with closing(listen(place(tmp_path, 0), None)) as other:
        peer = replica.channels.dial(f"secondary {other.endpoint}")
        replica.wait(Connected())
        for _ in range(1 << 14):
            replica.channels.send(bytes(1 << 12), peer)
        replica.channels.hang_up(peer)
    replica.channels.hang_up(replica.channels.dial(f"secondary {place(tmp_path, 1)}"))


def test_there_are_no_more_at_once_than_a_guest_has_members(
    replica: Replica, tmp_path: Path
) -> None:
    peers = [replica.channels.dial(f"secondary {place(tmp_path, n)}") for n in range(MOST)]
    with pytest.raises(HostError, match="more than 16 members"):
        replica.channels.dial(f"secondary {place(tmp_path, MOST)}")
    replica.channels.hang_up(peers[3])
    replica.channels.dial(f"secondary {place(tmp_path, MOST)}")
