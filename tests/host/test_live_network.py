"""Waiting for the network: `LiveWorld.poll` with NICs that are sockets and pipes.

Where a test waits for something it does so for an hour: if that did not come, the test would hang.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping

import pytest

from vlockstep.host.live import Continuation, LiveWorld, NetDevice

HOUR = 3600 * 10**9
FOREVER = (1 << 64) - 1
MILLISECOND = 10**6


class SocketNic:
    """A `NetDevice` whose network is `peer`."""

    def __init__(self) -> None:
        self.own, self.peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.own.setblocking(False)
        self._frames: deque[bytes] = deque()

    def read(self, limit: int) -> bytes | None:
        return self._frames.popleft() if self.waiting() else None

    def write(self, frame: bytes) -> None:
        self.own.send(frame)

    def waiting(self) -> bool:
        if not self._frames:
            try:
                frame = self.own.recv(65536)
            except OSError:
                frame = b""
            if frame:
                self._frames.append(frame)
        return bool(self._frames)

    def descriptors(self) -> tuple[int, ...]:
        return (self.own.fileno(),)

    def close(self) -> None:
        self.own.close()
        self.peer.close()


class SilentNic:
    """One that never has a frame, whatever its descriptors say."""

    def __init__(self, *descriptors: int) -> None:
        self._descriptors = descriptors

    def read(self, limit: int) -> None: ...

    def write(self, frame: bytes) -> None: ...

    def waiting(self) -> bool:
        return False

    def descriptors(self) -> tuple[int, ...]:
        return self._descriptors


class Done(Exception):
    """Raised to end a wait."""


class World(LiveWorld):
    """Counts the rounds of its waits. In each of them it does as `at_round` says."""

    def __init__(
        self, nics: Mapping[int, NetDevice] | None = None, start: Continuation | None = None
    ) -> None:
        super().__init__(None, nics=nics, start=start, pause=self._round)  # type: ignore[arg-type]
        self.rounds = 0
        self.at_round: dict[int, Callable[[], object]] = {}

    def _round(self) -> None:
        self.rounds += 1
        self.at_round.get(self.rounds, lambda: None)()


@pytest.fixture
def nics() -> Iterator[dict[int, SocketNic]]:
    yield (nics := {handle: SocketNic() for handle in (1, 4, 62)})
    for nic in nics.values():
        nic.close()


def done() -> None:
    raise Done


class Later:
    """Calls something in another thread, once its `begin` has been called here."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._begun = threading.Event()
        self._call = call
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self.begin = self._begun.set

    def _run(self) -> None:
        self._begun.wait()
        self._call()

    def __enter__(self) -> Later:
        return self

    def __exit__(self, *_: object) -> None:
        self.begin()
        self._thread.join()


# What ends a poll


@pytest.mark.parametrize("ready", [(), (1,), (4,), (1, 62), (1, 4, 62)])
def test_the_ready_set_has_a_bit_for_each_handle(
    nics: dict[int, SocketNic], ready: tuple[int, ...]
) -> None:
    world = World(nics)
    for handle in ready:
        nics[handle].peer.send(b"frame")
    expected = sum(1 << handle for handle in ready)
    assert world.poll(0, 0) == expected
    if ready:
        assert world.poll(1, HOUR) == world.poll(2, FOREVER) == expected, "nothing has been read"
    for handle in ready:
        assert world.net_read(3, handle, 1514) == b"frame"
    assert world.poll(4, 0) == 0


def test_a_frame_ends_the_wait(nics: dict[int, SocketNic]) -> None:
    world = World(nics)
    for count, handle in enumerate((4, 1, 4, 62)):
        with Later(lambda handle=handle: nics[handle].peer.send(b"frame")) as later:
            world.at_round = {world.rounds + 1: later.begin}
            assert world.poll(count, HOUR) == 1 << handle
        assert nics[handle].read(1514) == b"frame"


def test_frames_of_all_nics_are_told_at_once(nics: dict[int, SocketNic]) -> None:
    world = World(nics)
    send = [nics[handle].peer.send for handle in (62, 4)]
    world.at_round = {1: world.wake, 2: lambda: [each(b"frame") for each in send]}
    assert world.poll(0, HOUR) == 1 << 4 | 1 << 62


def test_timeout_of_zero_does_not_wait() -> None:
    world = World()
    world.at_round = {2: done}
    assert world.poll(0, 0) == 0
    assert world.rounds == 1


def test_a_timeout_is_waited_for(nics: dict[int, SocketNic]) -> None:
    world = World(nics)
    for timeout in (1, MILLISECOND, 30 * MILLISECOND + 1):
        start = time.monotonic_ns()
        assert world.poll(0, timeout) == 0
        assert time.monotonic_ns() - start >= timeout


@pytest.mark.parametrize("early", [False, True])
def test_wake_starts_a_round(early: bool) -> None:
    world = World({1: SilentNic()})
    with Later(world.wake) as later:
        world.at_round = {1: world.wake if early else later.begin, 2: done}
        with pytest.raises(Done):
            world.poll(0, FOREVER)
        assert world.rounds == 2


def test_waking_often_is_waking_once() -> None:
    world = World()
    for _ in range(100_000):
        world.wake()
    world.at_round = {1: world.wake, 4: done}
    assert world.poll(0, 30 * MILLISECOND) == 0


def test_a_wait_before_goes_on(nics: dict[int, SocketNic]) -> None:
    """In its exit only: in others the guest has not waited yet."""
    waited = (7, time.monotonic_ns() - HOUR)
    world = World(nics, Continuation(waited=waited))
    assert world.poll(7, HOUR) == 0
    nics[4].peer.send(b"frame")
    assert world.poll(7, HOUR) == 1 << 4
    assert nics[4].read(1514) == b"frame"
    start = time.monotonic_ns()
    for at in (0, 6, 8):
        assert world.poll(at, 20 * MILLISECOND) == 0
    assert time.monotonic_ns() - start >= 60 * MILLISECOND


def test_a_wait_before_is_not_over_sooner(nics: dict[int, SocketNic]) -> None:
    start = time.monotonic_ns()
    world = World(nics, Continuation(waited=(7, start)))
    assert world.poll(7, 50 * MILLISECOND) == 0
    assert time.monotonic_ns() - start >= 50 * MILLISECOND


# What it costs


def _closed_pipe() -> int:
    own, peer = os.pipe()
    os.close(peer)
    return own


def _closed_socket() -> int:
    own, peer = socket.socketpair()
    peer.close()
    return own.detach()


@pytest.mark.parametrize("hung_up", [_closed_pipe, _closed_socket])
def test_a_descriptor_that_is_hung_up_keeps_nobody_busy(hung_up: Callable[[], int]) -> None:
    descriptor, other = hung_up(), SocketNic()
    world = World({1: SilentNic(descriptor), 2: other})
    assert world.poll(0, 50 * MILLISECOND) == 0
    assert world.rounds < 10
    with Later(lambda: other.peer.send(b"frame")) as later:
        world.at_round = {world.rounds + 1: later.begin}
        assert world.poll(1, HOUR) == 1 << 2, "others are still heard"
    other.close()
    os.close(descriptor)


def test_an_idle_poll_sleeps(nics: dict[int, SocketNic]) -> None:
    world = World(nics)
    assert world.poll(0, 500 * MILLISECOND) == 0
    assert world.rounds < 10
