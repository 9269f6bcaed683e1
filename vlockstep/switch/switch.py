"""The switch as a process: a ROUTER socket for the ports of guests, and uplinks.

A port is known by its routing id, which it keeps when it connects again. ZeroMQ tells that some
connection was lost, but not whose; so every port gets a Ping then, and those to whom nothing can
be sent are gone. The socket learns of a loss a little after its monitor does, so this is done
several times.
"""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import zmq
from zmq.auth.thread import ThreadAuthenticator

from vlockstep.errors import HostError, UsageError
from vlockstep.net.nic import MAX_FRAME, Nic
from vlockstep.net.port import limit
from vlockstep.net.portmessages import (
    FRAME,
    PROTOCOL,
    Hello,
    Message,
    Ping,
    Refuse,
    Taken,
    Welcome,
    Who,
    Window,
    decode,
    encode,
    format_mac,
)
from vlockstep.switch.fabric import Fabric, PortCounters, PortId
from vlockstep.wire.codec import MessageError
from vlockstep.wire.endpoint import (
    HANDSHAKE_FAILED,
    authenticate,
    bind,
    check_endpoint,
    monitor_event,
)
from vlockstep.wire.keys import Keys, Party

Observer = Callable[[dict[str, Any]], None]
SECOND = 10**9
_MILLISECOND = 10**6
_PROBES = tuple(ms * _MILLISECOND for ms in (0, 2, 10, 50, 250))
_BURST = 256
"""Frames that are taken from one side before the others get their turn."""
_REMEMBERED = 256
"""Ports that are gone, and refusals, of which something is kept."""
_HANDSHAKE = 5000
"""Milliseconds for which a connection may stay without having said who it is."""
_WHO, _PING, _WELCOME = encode(Who()), encode(Ping()), encode(Welcome(PROTOCOL))


@dataclass
class Uplink:
    """A network outside. `explain` tells why it was lost, if that is known; `introduce` tells it
    the MAC address (6 bytes) of the only guest, which may not have sent anything yet."""

    name: str
    nic: Nic
    explain: Callable[[], str] = lambda: ""
    introduce: Callable[[bytes], None] = lambda mac: None
    up: bool | None = None
    more: bool = False
    """Frames wait that its descriptors may not tell of."""
    descriptors: tuple[int, ...] = ()


@dataclass
class _Guest:
    """Who is at a port, or was."""

    hello: Hello
    counters: PortCounters = field(default_factory=PortCounters)
    window: Window = field(default_factory=Window)

    def describe(self) -> dict[str, str]:
        hello = self.hello
        return {"name": hello.name, "guest": hello.guest, "mac": format_mac(hello.mac)}


class Switch:
    """A switch that listens at `endpoint`, with keys only for the replicas that have them.

    `observe` gets events as dictionaries, and the counters once a second if `status` is set.
    Raises `UsageError` and `HostError` if it cannot listen. The uplinks are its maker's to close.
    """

    def __init__(
        self,
        endpoint: str,
        keys: Keys | None,
        fabric: Fabric,
        uplinks: Iterable[Uplink],
        observe: Observer,
        status: bool = False,
    ) -> None:
        check_endpoint(endpoint, keys is not None)
        self._fabric = fabric
        self._uplinks = {uplink.name: uplink for uplink in uplinks}
        self._observe = observe
        self._status = status
        self._guests: dict[bytes, _Guest] = {}
        self._gone: dict[bytes, _Guest] = {}
        self._uplink_counters = {name: PortCounters() for name in self._uplinks}
        self._refused: dict[bytes, str] = {}
        self._strangers = 0
        self._probes: deque[int] = deque()
        self._next_second = 0
        self._stopped = False
        self._wake_receive, self._wake_send = socket.socketpair()
        self._wake_send.setblocking(False)
        self._router, self._authenticator = _open(keys)
        self._monitor = self._router.get_monitor_socket(zmq.EVENT_DISCONNECTED | HANDSHAKE_FAILED)
        self._poller = zmq.Poller()
        for watched in (self._router, self._monitor, self._wake_receive):
            self._poller.register(watched, zmq.POLLIN)
        try:
            bind(self._router, endpoint)
        except HostError:
            self.close()
            raise
        self.endpoint = self._router.getsockopt_string(zmq.LAST_ENDPOINT)

    def run(self) -> None:
        """Forward until `stop` is called."""
        self._report("listening", endpoint=self.endpoint)
        for uplink in self._uplinks.values():
            self._watch_uplink(uplink)
        while not self._stopped:
            ready = dict(self._poller.poll(self._timeout()))
            now = time.monotonic_ns()
            if self._router in ready:
                self._receive_burst(now)
            if self._monitor in ready:
                self._receive_monitor(now)
            for uplink in self._uplinks.values():
                if uplink.more or any(fd in ready for fd in uplink.descriptors):
                    self._drain(uplink, now)
            self._look_after(now)
        self._report("stopped", ports=self.ports())

    def stop(self) -> None:
        """Let `run` return. From another thread, or a signal handler."""
        self._stopped = True
        with suppress(BlockingIOError):
            self._wake_send.send(b"\0")

    def close(self) -> None:
        self._router.disable_monitor()
        self._monitor.close(0)
        self._router.close(0)
        if self._authenticator is not None:
            self._authenticator.stop()
        self._wake_receive.close()
        self._wake_send.close()

    def ports(self) -> list[dict[str, Any]]:
        """Who is at each port, with its counters. Those that are gone come last."""
        rows = [
            asdict(self._uplink_counters[name])
            | {"name": name, "guest": "", "mac": "", "up": bool(uplink.up)}
            for name, uplink in self._uplinks.items()
        ]
        for up, guests in ((True, self._guests), (False, self._gone)):
            rows += [asdict(g.counters) | g.describe() | {"up": up} for g in guests.values()]
        return rows

    # Frames

    def _receive_burst(self, now: int) -> None:
        router, fabric = self._router, self._fabric
        for _ in range(_BURST):
            try:
                peer = router.recv(zmq.NOBLOCK)
                data = router.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            parts = 1
            while router.getsockopt(zmq.RCVMORE):
                router.recv(zmq.NOBLOCK)
                parts += 1
            if parts > 1 or not data.startswith(FRAME):
                self._control(peer, data if parts == 1 else b"")
            elif (guest := self._guests.get(peer)) is None:
                self._send(peer, _WHO)
            else:
                frame = data[1:]
                for port in fabric.forward(now, peer, frame):
                    self._deliver(port, frame, data)
                if taken := guest.window.took():
                    self._send(peer, encode(Taken(taken)))

    def _deliver(self, port: PortId, frame: bytes, message: bytes) -> None:
        """`message` is the frame as a port gets it."""
        if isinstance(port, bytes):
            window = self._guests[port].window
            taken = not window.full() and self._send(port, message)
            if taken:
                window.sent()
        else:
            nic = self._uplinks[port].nic
            before = nic.counters.send_dropped
            nic.write(frame)
            taken = nic.counters.send_dropped == before
        if port not in self._fabric.ports:
            return  # it has just turned out to be gone
        if taken:
            self._fabric.sent(port, len(frame))
        else:
            self._fabric.overflowed(port)

    def _send(self, peer: bytes, message: bytes) -> bool:
        """False if it has no room. If there is no such peer any more, it is no port either."""
        try:
            self._router.send(peer, zmq.SNDMORE | zmq.NOBLOCK)
            self._router.send(message, zmq.NOBLOCK)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            self._remove(peer)
            return False
        return True

    # Ports

    def _control(self, peer: bytes, data: bytes) -> None:
        message: Message | None
        try:
            message = decode(data)
        except MessageError:
            message = None
        if isinstance(message, Hello):
            self._welcome(peer, message)
        elif (guest := self._guests.get(peer)) is None:
            return
        elif isinstance(message, Taken):
            guest.window.granted(message.count)
        else:
            guest.counters.malformed += 1

    def _welcome(self, peer: bytes, hello: Hello) -> None:
        known = self._guests.get(peer)
        if known is not None and known.hello != hello:
            self._remove(peer)
            known = None
        if known is None and not self._admit(peer, hello):
            return
        self._guests[peer].window.reset()
        self._send(peer, _WELCOME)

    def _admit(self, peer: bytes, hello: Hello) -> bool:
        """Whether it is a port now. If not, it is told why."""
        guest = self._gone.get(peer)
        if guest is None or guest.hello != hello:
            guest = _Guest(hello)
        try:
            if hello.version != PROTOCOL:
                raise UsageError(f"the switch speaks version {PROTOCOL}, not {hello.version}")
            self._fabric.add_port(peer, hello.mac, hello.guest, guest.counters)
        except UsageError as error:
            self._refuse(peer, guest, str(error))
            return False
        self._gone.pop(peer, None)
        self._refused.pop(peer, None)
        self._guests[peer] = guest
        self._report("port-connected", **guest.describe())
        self._introduce()
        return True

    def _refuse(self, peer: bytes, guest: _Guest, reason: str) -> None:
        if self._refused.get(peer) != reason:  # it asks again and again
            _remember(self._refused, peer, reason)
            self._report("port-refused", **guest.describe(), reason=reason)
        self._send(peer, encode(Refuse(reason)))

    def _remove(self, peer: bytes) -> None:
        guest = self._guests.pop(peer, None)
        if guest is None:
            return
        self._fabric.remove_port(peer)
        _remember(self._gone, peer, guest)
        self._report("port-disconnected", **guest.describe())

    def _receive_monitor(self, now: int) -> None:
        while self._monitor.poll(0):
            event, _ = monitor_event(self._monitor.recv_multipart())
            if event == zmq.EVENT_DISCONNECTED:
                self._probes = deque(now + delay for delay in _PROBES)
            elif event != zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:  # who only looks leaves so
                self._strangers += 1

    # Uplinks

    def _drain(self, uplink: Uplink, now: int) -> None:
        nic, fabric = uplink.nic, self._fabric
        uplink.more = True
        for count in range(_BURST):
            frame = nic.read(MAX_FRAME)
            if frame is None:
                uplink.more = nic.waiting()
                if not count:
                    self._watch_uplink(uplink)
                return
            message = FRAME + frame
            for port in fabric.forward(now, uplink.name, frame):
                self._deliver(port, frame, message)

    def _watch_uplink(self, uplink: Uplink) -> None:
        """Take note of an uplink that was lost, or that is back."""
        up = uplink.nic.connected()
        if up == uplink.up:
            return
        uplink.up = up
        if up:
            uplink.descriptors = uplink.nic.descriptors()
            uplink.more = True
            for descriptor in uplink.descriptors:
                self._poller.register(descriptor, zmq.POLLIN)
            counters = self._uplink_counters[uplink.name]
            self._fabric.add_port(uplink.name, counters=counters)
            self._report("uplink", name=uplink.name)
            self._introduce()
        else:
            for descriptor in uplink.descriptors:
                self._poller.unregister(descriptor)
            uplink.descriptors, uplink.more = (), False
            if uplink.name in self._fabric.ports:
                self._fabric.remove_port(uplink.name)
            self._report("uplink-lost", name=uplink.name, reason=uplink.explain())

    def _introduce(self) -> None:
        macs = {guest.hello.mac for guest in self._guests.values()}
        for uplink in self._uplinks.values():
            if uplink.up and len(macs) == 1:
                uplink.introduce(*macs)

    # Time

    def _timeout(self) -> int:
        """Milliseconds for which there is nothing to do."""
        if any(uplink.more for uplink in self._uplinks.values()):
            return 0
        due = min(self._next_second, self._probes[0] if self._probes else self._next_second)
        return max(0, (due - time.monotonic_ns()) // _MILLISECOND + 1)

    def _look_after(self, now: int) -> None:
        if self._probes and now >= self._probes[0]:
            while self._probes and now >= self._probes[0]:
                self._probes.popleft()
            for peer in list(self._guests):
                self._send(peer, _PING)
        if now < self._next_second:
            return
        self._next_second = now + SECOND
        for uplink in self._uplinks.values():
            self._watch_uplink(uplink)
        if self._strangers:
            reason = "a peer does not speak with accepted keys, or not as a port does"
            self._report("port-refused", name="", reason=reason, count=self._strangers)
            self._strangers = 0
        if self._status:
            self._report("status", ports=self.ports(), addresses=len(self._fabric))

    def _report(self, event: str, **details: Any) -> None:
        self._observe({"event": event, **details})


def _open(keys: Keys | None) -> tuple[zmq.Socket[bytes], ThreadAuthenticator | None]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
    router: zmq.Socket[bytes] = context.socket(zmq.ROUTER)
    limit(router)
    router.setsockopt(zmq.ROUTER_MANDATORY, 1)
    router.setsockopt(zmq.ROUTER_HANDOVER, 1)
    router.setsockopt(zmq.HANDSHAKE_IVL, _HANDSHAKE)
    if keys is None:
        return router, None
    return router, authenticate(context, router, keys, (Party.PRIMARY, Party.SECONDARY))


def _remember(memory: dict[bytes, Any], peer: bytes, what: Any) -> None:
    """Forget the oldest if there is too much."""
    memory.pop(peer, None)
    while len(memory) >= _REMEMBERED:
        del memory[next(iter(memory))]
    memory[peer] = what
