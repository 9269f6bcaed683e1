"""A NIC at a port of the switch, over ZeroMQ.

Several threads use one socket: whoever reads, whoever writes, and one that watches the connection
and says Hello on every new one. A lock keeps them apart. ZeroMQ's descriptor tells of changes
only, and any call may be the one that notices them, so a thread that finds messages where the
reader could not have known of them rings a bell: a pipe that the reader polls as well.
"""

from __future__ import annotations

import os
import platform
import select
import threading
import time
import uuid
from collections import deque

import zmq

from vlockstep.errors import HostError, UsageError
from vlockstep.net.nic import MAX_FRAME, MIN_FRAME, Counters
from vlockstep.net.portmessages import (
    FRAME,
    MAX_MESSAGE,
    PROTOCOL,
    WINDOW,
    Hello,
    Refuse,
    Taken,
    Welcome,
    Who,
    Window,
    check_group,
    decode,
    encode,
    parse_mac,
)
from vlockstep.wire.codec import MessageError
from vlockstep.wire.endpoint import (
    HANDSHAKE_FAILED,
    check_endpoint,
    connect_to,
    monitor_event,
    present,
)
from vlockstep.wire.handshake import ACCIDENTS, look_before_connecting, why_failed
from vlockstep.wire.keys import Keys, Party

_QUEUE = 4 * WINDOW
"""Messages. Nobody who keeps to the window gets there."""
_HEARTBEAT = 50
_DEAD = 150
"""Milliseconds between ZeroMQ's heartbeats, and of silence after which a connection is over."""
_RECONNECT, _RECONNECT_MAX = 5, 200
_REPEAT = 100
"""Milliseconds after which an unanswered Hello is said again."""
_LOOK = 1000
_POLLIN = int(zmq.POLLIN)
_MONITORED = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_MONITOR_STOPPED
    | HANDSHAKE_FAILED
)


class SwitchPort:
    """A `Nic` at a port of the switch at `endpoint`, in a port group. `mac` is text; `guest` tells
    whose NIC it is, and is the same for both replicas. It connects again by itself, as long as it
    is not closed."""

    def __init__(
        self, endpoint: str, keys: Keys | None, guest: str, mac: str, group: str = ""
    ) -> None:
        check_endpoint(endpoint, keys is not None)
        check_group(group)
        self.counters = Counters()
        self._keys = keys
        name = f"{platform.node()}:{os.getpid()}"
        self._hello = encode(Hello(PROTOCOL, guest, parse_mac(mac), name, group))
        self._lock = threading.Lock()
        self._window = Window()
        self._frames: deque[bytes] = deque()
        self._linked = False
        self._welcome = False
        self._refusal = ""
        self._failures = 0
        self._failure = ""
        self._closed = False
        self._socket = dealer(keys)
        self._monitor = self._socket.get_monitor_socket(_MONITORED)
        self._bell, self._clapper = os.pipe()
        self._rung = False
        self._watcher = threading.Thread(target=self._watch, name="switch-port", daemon=True)
        self._watcher.start()
        try:
            connect_to(self._socket, endpoint)
        except UsageError:
            self.close()
            raise

    @classmethod
    def connect(
        cls,
        endpoint: str,
        keys: Keys | None,
        guest: str,
        mac: str,
        timeout: float = 5.0,
        group: str = "",
    ) -> SwitchPort:
        """A port that the switch has welcomed.

        Raises `UsageError` if it refuses, and `HostError` if it does not answer within `timeout`
        seconds or the keys do not fit.
        """
        check_endpoint(endpoint, keys is not None)
        look_before_connecting(endpoint, keys)
        port = cls(endpoint, keys, guest, mac, group)
        try:
            port._wait_welcome(endpoint, timeout)
        except BaseException:
            port.close()
            raise
        return port

    # Nic

    def descriptors(self) -> tuple[int, ...]:
        return (int(self._socket.getsockopt(zmq.FD)), self._bell)

    def waiting(self) -> bool:
        with self._lock:
            if self._frames or self._pump():
                return True
            if self._rung and not self._closed:
                os.read(self._bell, 1)
                self._rung = False
            return False

    def read(self, limit: int) -> bytes | None:
        counters = self.counters
        while (frame := self._next_frame()) is not None:
            size = len(frame)
            if MIN_FRAME <= size <= limit:
                counters.received += 1
                counters.received_bytes += size
                return frame
            counters.receive_dropped += 1
        return None

    def write(self, frame: bytes) -> None:
        size = len(frame)
        if MIN_FRAME <= size <= MAX_FRAME and self._send_frame(frame):
            self.counters.sent += 1
            self.counters.sent_bytes += size
        else:
            self.counters.send_dropped += 1

    def connected(self) -> bool:
        return self._linked and not self._refusal

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._linked = False
            self._socket.disable_monitor()
        self._watcher.join()
        self._monitor.close(0)
        self._socket.close(0)
        os.close(self._bell)
        os.close(self._clapper)

    # The socket; the caller holds the lock, but for the two that are about frames

    def _next_frame(self) -> bytes | None:
        with self._lock:
            if not self._frames and not self._pump():
                return None
            frame = self._frames.popleft()
            if taken := self._window.took():
                self._send(encode(Taken(taken)))
        return frame

    def _send_frame(self, frame: bytes) -> bool:
        with self._lock:
            if self._window.full():
                self._pump(all_of_it=True)  # nobody may be reading
            if self._window.full() or not self.connected() or not self._send(FRAME + frame):
                return False
            self._window.sent()
        return True

    def _readable(self) -> bool:
        """Takes note of what has happened to the socket."""
        return bool(int(self._socket.getsockopt(zmq.EVENTS)) & _POLLIN)

    def _pump(self, all_of_it: bool = False) -> bool:
        """Take what has come, up to the next frame or `all_of_it`; whether there is a frame."""
        while not self._closed and (all_of_it or not self._frames) and self._readable():
            data = self._socket.recv(zmq.NOBLOCK)
            if all_of_it:
                self._ring()  # the reader has not been told
            if not data.startswith(FRAME):
                self._control(data)
            elif len(self._frames) < _QUEUE:
                self._frames.append(data[1:])
        return bool(self._frames)

    def _send(self, data: bytes) -> bool:
        if self._closed:
            return False
        try:
            self._socket.send(data, zmq.NOBLOCK)
        except zmq.Again:
            return False
        finally:
            if self._readable():
                self._ring()
        return True

    def _ring(self) -> None:
        if not self._rung and not self._closed:
            os.write(self._clapper, b"\0")
            self._rung = True

    def _greet(self) -> None:
        if not self._closed:
            self._readable()  # or the socket may not know yet that there is a connection
        self._send(self._hello)

    def _control(self, data: bytes) -> None:
        try:
            message = decode(data)
        except MessageError:
            self.counters.receive_dropped += 1
            return
        match message:
            case Taken(count):
                self._window.granted(count)
            case Welcome():
                self._window.reset()
                self._welcome, self._refusal = True, ""
            case Refuse(reason):
                self._welcome, self._refusal = False, reason or "without a reason"
            case Who():
                self._welcome = False
                self._greet()

    # The connection

    def _wait_welcome(self, endpoint: str, timeout: float) -> None:
        poll = select.poll()
        for descriptor in self.descriptors():
            poll.register(descriptor, select.POLLIN)
        deadline = time.monotonic() + timeout
        while not self._welcome:
            self.waiting()
            if self._refusal:
                raise UsageError(f"the switch at {endpoint} refuses: {self._refusal}", key=("mac",))
            if self._failures >= ACCIDENTS:
                raise HostError(f"{endpoint}: {self._failure}")
            left = deadline - time.monotonic()
            if left <= 0:
                raise HostError(
                    f"no switch answers at {endpoint} within {timeout:g} s; "
                    "start `vlockstep switch` there"
                )
            if not self._welcome:
                poll.poll(int(left * 1000) + 1)

    # The watching thread

    def _watch(self) -> None:
        while not self._closed:
            if self._monitor.poll(_LOOK if self._welcome or not self._linked else _REPEAT):
                self._notice(*monitor_event(self._monitor.recv_multipart()))
            elif self._linked:
                with self._lock:
                    self._pump(all_of_it=True)  # nobody else may be doing it
                    if not self._welcome:
                        self._greet()

    def _notice(self, event: int, value: int) -> None:
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._failures = 0
            with self._lock:
                self._welcome = False
                self._greet()
            self._linked = True
        elif event == zmq.EVENT_DISCONNECTED:
            self._linked = self._welcome = False
        elif event & HANDSHAKE_FAILED:
            self._failure, certain = why_failed(event, value, self._keys, Party.SWITCH)
            self._failures += ACCIDENTS if certain else 1
            with self._lock:
                self._ring()


def dealer(keys: Keys | None) -> zmq.Socket[bytes]:
    """A socket for a connection to a switch, which is not there yet."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
    socket: zmq.Socket[bytes] = context.socket(zmq.DEALER)
    try:
        if keys is not None:
            present(socket, keys, Party.SWITCH)
    except BaseException:
        socket.close(0)
        raise
    # One that stays: after a lost connection the switch takes this for the same.
    socket.setsockopt(zmq.ROUTING_ID, b"p" + uuid.uuid4().bytes)
    socket.setsockopt(zmq.IMMEDIATE, 1)
    socket.setsockopt(zmq.RECONNECT_IVL, _RECONNECT)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, _RECONNECT_MAX)
    limit(socket)
    return socket


def limit(socket: zmq.Socket[bytes]) -> None:
    """What holds at both ends: nothing waits without bounds, and silence is noticed."""
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SNDHWM, _QUEUE)
    socket.setsockopt(zmq.RCVHWM, _QUEUE)
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE)
    socket.setsockopt(zmq.HEARTBEAT_IVL, _HEARTBEAT)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, _DEAD)
