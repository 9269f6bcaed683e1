"""The switch as a process: ports for guests and switches below, a trunk to one above, uplinks."""

from __future__ import annotations

import os
import platform
import socket
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import zmq

from vlockstep.net.portmessages import (
    FRAME,
    TAGGED,
    Attach,
    Detach,
    Hello,
    Message,
    Ping,
    Probe,
    Refuse,
    Taken,
    TrunkHello,
    Verdict,
    Who,
    encode,
    format_mac,
    split,
    tag,
)
from vlockstep.switch.fabric import Fabric, PortCounters, PortId
from vlockstep.switch.ports import Member, Ports, decoded
from vlockstep.switch.tree import Down, State, Tree, Up
from vlockstep.switch.trunk import Trunk
from vlockstep.switch.uplinks import BURST, Uplink, Uplinks
from vlockstep.wire.codec import MessageError
from vlockstep.wire.endpoint import check_endpoint
from vlockstep.wire.keys import Keys

Observer = Callable[[dict[str, Any]], None]
SECOND = 10**9
_MILLISECOND = 10**6


class Switch:
    """A switch that listens at `endpoint`, with keys only for the replicas and switches that have
    them, and has a trunk to the switch at `parent` if there is one.

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
        parent: str | None = None,
    ) -> None:
        check_endpoint(endpoint, keys is not None)
        self._fabric = fabric
        self._observe = observe
        self._status = status
        self._poller = zmq.Poller()
        self._uplinks = Uplinks(uplinks, fabric, self._poller, self._report)
        self._next_second = 0
        self._stopped = False
        self._tree = Tree(uuid.uuid4().hex, f"{platform.node()}:{os.getpid()}")
        self._trunk = None if parent is None else Trunk(parent, keys, self._tree)
        self._trouble = ""
        """Why there is no trunk, as it was told last."""
        self._wake_receive, self._wake_send = socket.socketpair()
        self._wake_send.setblocking(False)
        try:
            self._ports = Ports(endpoint, keys, fabric, self._report, self._uplinks.introduce)
        except BaseException:
            self._close_others()
            raise
        self.endpoint = self._ports.endpoint
        watched = [self._ports.socket, self._ports.monitor, self._wake_receive]
        if self._trunk is not None:
            watched += [self._trunk.socket, self._trunk.monitor]
        for each in watched:
            self._poller.register(each, zmq.POLLIN)

    def run(self) -> None:
        """Forward until `stop` is called."""
        self._report("listening", endpoint=self.endpoint)
        self._uplinks.watch()
        while not self._stopped:
            ready = dict(self._poller.poll(self._timeout()))
            now = time.monotonic_ns()
            if self._ports.socket in ready:
                self._receive_burst(now)
            if self._ports.monitor in ready:
                self._ports.notice(now)
            for name, group, frame in self._uplinks.frames(ready):
                self._forward(now, name, group, frame, FRAME + frame)
            if self._trunk is not None:
                self._attend_trunk(self._trunk, now)
            self._look_after(now)
            self._announce()
        self._report("stopped", ports=self.ports())

    def stop(self) -> None:
        """Let `run` return. From another thread, or a signal handler."""
        self._stopped = True
        with suppress(BlockingIOError):
            self._wake_send.send(b"\0")

    def close(self) -> None:
        self._ports.close()
        self._close_others()

    def _close_others(self) -> None:
        if self._trunk is not None:
            self._trunk.close()
        self._wake_receive.close()
        self._wake_send.close()

    def ports(self) -> list[dict[str, Any]]:
        """Who is at each port, with its counters. Those that are gone come last."""
        rows = self._uplinks.rows()
        if self._trunk is not None:
            up = self._trunk.name in self._fabric.ports
            about = {"name": self._trunk.name, "guest": "", "mac": "", "group": "", "up": up}
            rows.append(asdict(self._trunk.counters) | about)
        return rows + self._ports.rows()

    # Frames

    def _receive_burst(self, now: int) -> None:
        for peer, member, data in self._ports.received(BURST):
            if data.startswith(FRAME) and member.group is not None:
                self._forward(now, peer, member.group, data[1:], data)
            elif data.startswith(TAGGED) and member.open:
                self._forward_tagged(now, peer, data, member.counters)
            else:
                self._control(peer, member, data)
                continue
            if taken := member.window.took():
                self._ports.send(peer, encode(Taken(taken)))

    def _forward_tagged(self, now: int, trunk: PortId, data: bytes, counters: PortCounters) -> None:
        try:
            group, frame = split(data)
        except MessageError:
            counters.malformed += 1
        else:
            self._forward(now, trunk, group, frame, FRAME + frame)

    def _forward(
        self, now: int, source: PortId, group: bytes, frame: bytes, message: bytes
    ) -> None:
        """`message` is the frame as a port gets it."""
        for port in self._fabric.forward(now, source, frame, group):
            if self._deliver(port, group, frame, message):
                self._fabric.sent(port, len(frame))
            elif port in self._fabric.ports:  # it may just have turned out to be gone
                self._fabric.overflowed(port)

    def _deliver(self, port: PortId, group: bytes, frame: bytes, message: bytes) -> bool:
        if isinstance(port, bytes):
            member = self._ports.members[port]
            if member.group is None:
                message = tag(group) + frame
            window = member.window
            taken = not window.full() and self._ports.send(port, message)
        elif self._trunk is not None and port == self._trunk.name:
            window = self._trunk.window
            taken = not window.full() and self._trunk.send(tag(group) + frame)
        else:
            return self._uplinks.write(port, frame)
        if taken:
            window.sent()
        return taken

    # Control messages

    def _control(self, peer: bytes, member: Member, data: bytes) -> None:
        message, hello = decoded(data), member.hello
        if isinstance(message, Hello | TrunkHello):
            if self._ports.greeted(peer, message) and isinstance(message, TrunkHello):
                self._pass(self._tree.asked(message))
        elif isinstance(message, Taken):
            member.window.granted(message.count)
        elif isinstance(message, Probe) and isinstance(hello, TrunkHello):
            self._pass(self._tree.probed(hello.identity, message))
        elif isinstance(message, Attach | Detach) and isinstance(hello, TrunkHello):
            self._attach(peer, message)
        else:
            member.counters.malformed += 1

    def _pass(self, step: Up | Down | None) -> None:
        """Say to another switch what is to be said of who may be below whom."""
        if isinstance(step, Up):
            assert self._trunk is not None, "who asks or has a parent has a trunk"
            self._trunk.send(encode(step.message))
        elif isinstance(step, Down):
            self._ports.judge(step.message)

    # The trunk to the switch above

    def _attend_trunk(self, trunk: Trunk, now: int) -> None:
        for data in trunk.received(BURST):
            if data.startswith(TAGGED) and trunk.name in self._fabric.ports:
                self._forward_tagged(now, trunk.name, data, trunk.counters)
                if taken := trunk.window.took():
                    trunk.send(encode(Taken(taken)))
            elif not data.startswith(TAGGED):
                self._control_trunk(trunk, now, decoded(data))
                self._follow_trunk(trunk)
        trunk.notice(now)
        trunk.tick(now)
        self._follow_trunk(trunk)

    def _control_trunk(self, trunk: Trunk, now: int, message: Message | None) -> None:
        match message:
            case Taken(count):
                trunk.window.granted(count)
            case Verdict():
                self._pass(self._tree.judged(message))
            case Refuse(reason):
                self._tree.refused(reason or "without a reason")
            case Who():
                trunk.ask(now)
            case Attach() | Detach():
                self._attach(trunk.name, message)
            case Ping():
                pass
            case _:
                trunk.counters.malformed += 1

    def _follow_trunk(self, trunk: Trunk) -> None:
        """Take note of what has become of it."""
        up = self._tree.state is State.CHILD
        if up and trunk.name not in self._fabric.ports:
            trunk.window.reset()
            self._fabric.add_trunk(trunk.name, trunk.counters)
            self._trouble = ""
            self._report("uplink", name=trunk.name)
        elif not up and trunk.name in self._fabric.ports:
            self._fabric.remove_port(trunk.name)
            self._without_trunk("uplink-lost", trunk, "the connection is over")
        if self._tree.state is State.REFUSED:
            self._without_trunk("uplink-refused", trunk, self._tree.reason)

    def _without_trunk(self, event: str, trunk: Trunk, reason: str) -> None:
        if reason != self._trouble:
            self._trouble = reason
            self._report(event, name=trunk.name, reason=reason)

    # Replicas behind trunks

    def _attach(self, trunk: PortId, message: Attach | Detach) -> None:
        if trunk not in self._fabric.ports:
            return
        group, mac = message.group.encode(), message.mac
        if isinstance(message, Detach):
            self._fabric.detach(trunk, group, mac)
        elif other := self._fabric.attach(trunk, group, mac, message.guest):
            about = {"mac": format_mac(mac), "group": message.group}
            self._report("address-conflict", **about, guest=message.guest, other=other)

    def _announce(self) -> None:
        """Tell trunks, and uplinks, of replicas that came and went."""
        while self._fabric.changed:
            for trunk, group, mac, guest in self._fabric.announcements():
                name = group.decode()
                message = Detach(name, mac) if guest is None else Attach(name, mac, guest)
                if trunk in self._fabric.ports and not self._inform(trunk, encode(message)):
                    self._begin_again(trunk)
            self._uplinks.introduce()

    def _inform(self, trunk: PortId, message: bytes) -> bool:
        if isinstance(trunk, bytes):
            return self._ports.send(trunk, message)
        assert self._trunk is not None
        return self._trunk.send(message)

    def _begin_again(self, trunk: PortId) -> None:
        """It does not know what it has to: then it shall be no trunk until it has asked again."""
        if isinstance(trunk, bytes):
            self._ports.shut(trunk)
        elif self._trunk is not None:
            self._tree.lost()
            self._follow_trunk(self._trunk)

    # Time

    def _timeout(self) -> int:
        """Milliseconds for which there is nothing to do."""
        if self._uplinks.waiting():
            return 0
        due = [self._next_second, self._ports.due()]
        if self._trunk is not None:
            due.append(self._trunk.due())
        wait = min(at for at in due if at is not None) - time.monotonic_ns()
        return max(0, wait // _MILLISECOND + 1)

    def _look_after(self, now: int) -> None:
        self._ports.probe(now)
        if now < self._next_second:
            return
        self._next_second = now + SECOND
        self._uplinks.watch()
        self._ports.every_second()
        if self._trunk is not None:
            trouble = self._trunk.failure or self._trouble or self._trunk.silent(now)
            if trouble:
                self._without_trunk("uplink-lost", self._trunk, trouble)
        if self._status:
            self._report("status", ports=self.ports(), addresses=len(self._fabric))

    def _report(self, event: str, **details: Any) -> None:
        self._observe({"event": event, **details})
