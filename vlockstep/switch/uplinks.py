"""The networks outside of a switch."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import zmq

from vlockstep.net.nic import MAX_FRAME, Nic
from vlockstep.switch.fabric import Fabric, PortCounters

BURST = 256
"""Frames that are taken from one side before the others get their turn."""


@dataclass
class Uplink:
    """A network outside, in the port group `group`. `explain` tells why it was lost, if that is
    known; `introduce` tells it the MAC address (6 bytes) of the only guest, which may not have sent
    anything yet."""

    name: str
    nic: Nic
    explain: Callable[[], str] = lambda: ""
    introduce: Callable[[bytes], None] = lambda mac: None
    group: bytes = b""
    up: bool | None = None
    more: bool = False
    """Frames wait that its descriptors may not tell of."""
    descriptors: tuple[int, ...] = ()
    counters: PortCounters = field(default_factory=PortCounters)


class Uplinks:
    """Those of a switch, which are ports of its `fabric` as long as they are up."""

    def __init__(
        self,
        uplinks: Iterable[Uplink],
        fabric: Fabric,
        poller: zmq.Poller,
        report: Callable[..., None],
    ) -> None:
        self._uplinks = {uplink.name: uplink for uplink in uplinks}
        self._fabric = fabric
        self._poller = poller
        self._report = report

    def rows(self) -> list[dict[str, Any]]:
        """Their counters."""
        return [
            asdict(uplink.counters)
            | {"name": uplink.name, "guest": "", "mac": "", "group": uplink.group.decode()}
            | {"up": bool(uplink.up)}
            for uplink in self._uplinks.values()
        ]

    def waiting(self) -> bool:
        """Whether there may be frames of which no descriptor tells."""
        return any(uplink.more for uplink in self._uplinks.values())

    def frames(
        self, ready: Container[int | zmq.Socket[bytes]]
    ) -> Iterator[tuple[str, bytes, bytes]]:
        """What came from uplinks with `ready` descriptors, some from each: where, in which group,
        and the frame."""
        for uplink in self._uplinks.values():
            if uplink.more or any(fd in ready for fd in uplink.descriptors):
                for frame in self._drain(uplink):
                    yield uplink.name, uplink.group, frame

    def write(self, name: str, frame: bytes) -> bool:
        """Whether it took the frame."""
        nic = self._uplinks[name].nic
        before = nic.counters.send_dropped
        nic.write(frame)
        return nic.counters.send_dropped == before

    def watch(self) -> None:
        """Take note of those that were lost, or that are back."""
        for uplink in self._uplinks.values():
            self._watch(uplink)

    def introduce(self) -> None:
        """Tell each the address of the guest in its group, if there is only one."""
        for uplink in self._uplinks.values():
            macs = self._fabric.attached(uplink.group)
            if uplink.up and len(macs) == 1:
                uplink.introduce(*macs)

    def _drain(self, uplink: Uplink) -> Iterator[bytes]:
        uplink.more = True
        for count in range(BURST):
            frame = uplink.nic.read(MAX_FRAME)
            if frame is None:
                uplink.more = uplink.nic.waiting()
                if not count:
                    self._watch(uplink)
                return
            yield frame

    def _watch(self, uplink: Uplink) -> None:
        up = uplink.nic.connected()
        if up == uplink.up:
            return
        uplink.up = up
        if up:
            uplink.descriptors = uplink.nic.descriptors()
            uplink.more = True
            for descriptor in uplink.descriptors:
                self._poller.register(descriptor, zmq.POLLIN)
            self._fabric.add_port(uplink.name, counters=uplink.counters, group=uplink.group)
            self._report("uplink", name=uplink.name)
            self.introduce()
        else:
            for descriptor in uplink.descriptors:
                self._poller.unregister(descriptor)
            uplink.descriptors, uplink.more = (), False
            if uplink.name in self._fabric.ports:
                self._fabric.remove_port(uplink.name)
            self._report("uplink-lost", name=uplink.name, reason=uplink.explain())
