"""The ports of a switch: a ROUTER socket, to which guests and switches below connect.

A port is known by its routing id, which it keeps when it connects again. ZeroMQ tells that some
connection was lost, but not whose; so every port gets a Ping then, and those to whom nothing can
be sent are gone. The socket learns of a loss a little after its monitor does, so this is done
several times.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import zmq
from zmq.auth.thread import ThreadAuthenticator

from vlockstep.errors import HostError, UsageError
from vlockstep.net.port import limit
from vlockstep.net.portmessages import (
    FRAME,
    PROTOCOL,
    TAGGED,
    Hello,
    Message,
    Ping,
    Refuse,
    TrunkHello,
    Verdict,
    Welcome,
    Who,
    Window,
    decode,
    encode,
    format_mac,
)
from vlockstep.switch.fabric import PORT_LIMIT, Fabric, PortCounters
from vlockstep.wire.codec import MessageError
from vlockstep.wire.endpoint import (
    HANDSHAKE_FAILED,
    authenticate,
    bind,
    check_endpoint,
    monitor_event,
)
from vlockstep.wire.keys import Keys, Party

_PROBES = tuple(ms * 10**6 for ms in (0, 2, 10, 50, 250))
_REMEMBERED = 256
"""Ports that are gone, and refusals, of which something is kept."""
_HANDSHAKE = 5000
"""Milliseconds for which a connection may stay without having said who it is."""
_WHO, _PING, _WELCOME = encode(Who()), encode(Ping()), encode(Welcome(PROTOCOL))
_CONNECTING = {Party.PRIMARY: Hello, Party.SECONDARY: Hello, Party.SWITCH: TrunkHello}
"""Whom a switch lets connect, if it has their keys, and as what."""


@dataclass
class Member:
    """Who is at a port or at the upper end of a trunk, or was."""

    hello: Hello | TrunkHello
    open: bool = False
    """Whether frames come and go: it is in the fabric."""
    counters: PortCounters = field(default_factory=PortCounters)
    window: Window = field(default_factory=Window)
    group: bytes | None = None
    """A trunk has all."""

    def __post_init__(self) -> None:
        if isinstance(self.hello, Hello):
            self.group = self.hello.group.encode()

    def describe(self) -> dict[str, str]:
        hello = self.hello
        if isinstance(hello, TrunkHello):
            return {"name": f"trunk:{hello.name}", "guest": "", "mac": "", "group": ""}
        mac = format_mac(hello.mac)
        return {"name": hello.name, "guest": hello.guest, "mac": mac, "group": hello.group}


class Ports:
    """Those that connect at `endpoint`, with keys only if they have some that are accepted.
    `attached` is called when another guest is there, before it is told that it is.

    Raises `UsageError` and `HostError` if it cannot listen.
    """

    def __init__(
        self,
        endpoint: str,
        keys: Keys | None,
        fabric: Fabric,
        report: Callable[..., None],
        attached: Callable[[], None],
    ) -> None:
        check_endpoint(endpoint, keys is not None)
        self.members: dict[bytes, Member] = {}
        self._fabric = fabric
        self._report = report
        self._attached = attached
        self._gone: dict[bytes, Member] = {}
        self._refused: dict[bytes, str] = {}
        self._strangers = 0
        self._probes: deque[int] = deque()
        self._parties = _parties(keys)
        self.socket, self._authenticator = _open(keys)
        self.monitor = self.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED | HANDSHAKE_FAILED)
        try:
            bind(self.socket, endpoint)
        except HostError:
            self.close()
            raise
        self.endpoint = self.socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def close(self) -> None:
        self.socket.disable_monitor()
        self.monitor.close(0)
        self.socket.close(0)
        if self._authenticator is not None:
            self._authenticator.stop()

    def rows(self) -> list[dict[str, Any]]:
        """Their counters. Those that are gone come last."""
        there = [member for member in self.members.values() if member.open]
        return [
            asdict(member.counters) | member.describe() | {"up": member.open}
            for member in (*there, *self._gone.values())
        ]

    def received(self, most: int) -> Iterator[tuple[bytes, Member, bytes]]:
        """What members say, up to `most` messages. One of several parts is empty: it is none."""
        socket, members = self.socket, self.members
        for _ in range(most):
            try:
                peer = socket.recv(zmq.NOBLOCK)
                member = members.get(peer)
                if member is None:
                    said = self._meet(peer)
                    if said is not None:
                        yield peer, members[peer], said
                    continue
                data = socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            if socket.getsockopt(zmq.RCVMORE):
                self._skip()
                data = b""
            yield peer, member, data

    def send(self, peer: bytes, message: bytes) -> bool:
        """False if it has no room. If there is no such peer any more, it is no port either."""
        try:
            self.socket.send(peer, zmq.SNDMORE | zmq.NOBLOCK)
            self.socket.send(message, zmq.NOBLOCK)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            self._remove(peer)
            return False
        return True

    def greeted(self, peer: bytes, hello: Hello | TrunkHello) -> bool:
        """A member says Hello once more. Whether it is a trunk that asks for what it has not."""
        member = self.members[peer]
        if hello != member.hello:
            self._remove(peer)
            self.send(peer, _WHO)
        elif isinstance(hello, Hello):
            member.window.reset()
            self.send(peer, _WELCOME)
        else:
            return True
        return False

    def judge(self, verdict: Verdict) -> None:
        """Pass `verdict` on to the switch below that is the last of its path. If it asked itself,
        there is a trunk to it from now on, unless there is a reason why not."""
        *before, child = verdict.path
        for peer, member in list(self.members.items()):
            hello = member.hello
            if not isinstance(hello, TrunkHello) or hello.identity != child:
                continue
            if before or verdict.reason or member.open:
                self.send(peer, encode(verdict))
            elif verdict.attempt == hello.attempt:
                self._fabric.add_trunk(peer, member.counters)
                self._open(peer, member, "trunk-connected", encode(verdict))

    def shut(self, peer: bytes) -> None:
        """Let frames come and go no more. A trunk gets asked who it is until it asks again."""
        member = self.members.get(peer)
        if member is None or not member.open:
            return
        member.open = False
        self._fabric.remove_port(peer)
        _remember(self._gone, peer, member)
        kind = "port" if isinstance(member.hello, Hello) else "trunk"
        self._report(f"{kind}-disconnected", **member.describe())

    def notice(self, now: int) -> None:
        """Take note of what has happened to connections."""
        while self.monitor.poll(0):
            event, _ = monitor_event(self.monitor.recv_multipart())
            if event == zmq.EVENT_DISCONNECTED:
                self._probes = deque(now + delay for delay in _PROBES)
            elif event != zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:  # who only looks leaves so
                self._strangers += 1

    def due(self) -> int | None:
        """When to `probe`, if ever."""
        return self._probes[0] if self._probes else None

    def probe(self, now: int) -> None:
        """Look who is gone, if it is time."""
        if not self._probes or now < self._probes[0]:
            return
        while self._probes and now >= self._probes[0]:
            self._probes.popleft()
        for peer in list(self.members):
            self.send(peer, _PING)

    def every_second(self) -> None:
        for peer in [peer for peer, member in self.members.items() if not member.open]:
            self.send(peer, _WHO)
        if self._strangers:
            reason = "a peer does not speak with accepted keys, or not as a port does"
            self._report("port-refused", name="", reason=reason, count=self._strangers)
            self._strangers = 0

    def _meet(self, peer: bytes) -> bytes | None:
        """Take the message of a peer that is no member. What it says, if it asks for a trunk."""
        part = self.socket.recv(zmq.NOBLOCK, copy=False)
        several = part.more
        self._skip()
        data = part.bytes
        if several:
            return None
        if data.startswith((FRAME, TAGGED)):
            self.send(peer, _WHO)
            return None
        hello = decoded(data)
        if not isinstance(hello, Hello | TrunkHello):
            return None
        member = Member(hello)
        try:
            if self._parties is not None:
                _check_party(self._parties[str(part.get("User-Id"))], hello)
            self._admit(peer, member)
        except UsageError as error:
            self._refuse(peer, member, str(error))
            return None
        return data if isinstance(hello, TrunkHello) else None

    def _skip(self) -> None:
        """Leave out the other parts of a message."""
        while self.socket.getsockopt(zmq.RCVMORE):
            self.socket.recv(zmq.NOBLOCK)

    def _admit(self, peer: bytes, member: Member) -> None:
        """Raises `UsageError` if it cannot be a member."""
        hello, before = member.hello, self._gone.get(peer)
        if hello.version != PROTOCOL:
            raise UsageError(f"the switch speaks version {PROTOCOL}, not {hello.version}")
        if before is not None and before.describe() == member.describe():
            member.counters = before.counters
        if isinstance(hello, TrunkHello):
            if len(self.members) >= PORT_LIMIT:
                raise UsageError(f"the switch has no more than {PORT_LIMIT} ports")
            self.members[peer] = member
        else:
            group = hello.group.encode()
            self._fabric.add_port(peer, hello.mac, hello.guest, member.counters, group)
            self.members[peer] = member
            self._attached()
            self._open(peer, member, "port-connected", _WELCOME)

    def _open(self, peer: bytes, member: Member, event: str, message: bytes) -> None:
        """Let frames come and go from now on, which `message` tells it."""
        member.open = True
        self._gone.pop(peer, None)
        self._refused.pop(peer, None)
        self._report(event, **member.describe())
        self.send(peer, message)

    def _refuse(self, peer: bytes, member: Member, reason: str) -> None:
        if self._refused.get(peer) != reason:  # it asks again and again
            _remember(self._refused, peer, reason)
            self._report("port-refused", **member.describe(), reason=reason)
        self.send(peer, encode(Refuse(reason)))

    def _remove(self, peer: bytes) -> None:
        self.shut(peer)
        self.members.pop(peer, None)


def decoded(data: bytes) -> Message | None:
    """What `data` says, if it is a message."""
    with suppress(MessageError):
        return decode(data)
    return None


def _open(keys: Keys | None) -> tuple[zmq.Socket[bytes], ThreadAuthenticator | None]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
    router: zmq.Socket[bytes] = context.socket(zmq.ROUTER)
    limit(router)
    router.setsockopt(zmq.ROUTER_MANDATORY, 1)
    router.setsockopt(zmq.ROUTER_HANDOVER, 1)
    router.setsockopt(zmq.HANDSHAKE_IVL, _HANDSHAKE)
    if keys is None:
        return router, None
    return router, authenticate(context, router, keys, _CONNECTING)


def _parties(keys: Keys | None) -> dict[str, Party] | None:
    """Whose public keys are known; None if anybody may connect."""
    if keys is None:
        return None
    return {keys.of(party).decode(): party for party in _CONNECTING if keys.has(party)}


def _check_party(party: Party, hello: Hello | TrunkHello) -> None:
    if not isinstance(hello, _CONNECTING[party]):
        what = "port" if isinstance(hello, Hello) else "trunk"
        raise UsageError(f"who has the key of the {party} can have no {what}")


def _remember(memory: dict[bytes, Any], peer: bytes, what: Any) -> None:
    """Forget the oldest if there is too much."""
    memory.pop(peer, None)
    while len(memory) >= _REMEMBERED:
        del memory[next(iter(memory))]
    memory[peer] = what
