"""The network around the replicas: a switch, and clients of the guest.

With passt the clients are ordinary ones of this machine, on a forwarded TCP port. Without it, a
host on the switch pings the guest.
"""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from signal import SIGTERM
from typing import Any

from vlockstep.demo.guard import Guard
from vlockstep.demo.ping import PingVisitor
from vlockstep.demo.redis import RedisVisitor
from vlockstep.demo.visits import Visitor, longest
from vlockstep.errors import HostError
from vlockstep.net.attach import NicSpec
from vlockstep.net.passt import DEFAULT_GATEWAY, DEFAULT_GUEST
from vlockstep.sim.sides import Side
from vlockstep.testing import PairError, ReplicaProcess

_NIC = "net"
_PORT = 6379
_CLIENTS = 4
_LEAVING = 15.0
"""Seconds after which a client that was told to leave is no longer waited for."""


class Network:
    """A network that does not run yet; captures of its traffic go into the directory."""

    def __init__(self, directory: Path) -> None:
        self.visitors: list[Visitor] = []
        self.port: int | None = None
        """Of this machine, that leads to the guest; None without passt."""
        self.without = "" if shutil.which("passt") else "the package `passt` is not installed"
        """Why there is no passt."""
        self.ports: Sequence[dict[str, Any]] = ()
        """What the switch has counted, once it has stopped."""
        self._directory = directory
        self._leave = threading.Event()
        self._threads: list[threading.Thread] = []
        self._switch: ReplicaProcess | None = None

    @property
    def switch(self) -> ReplicaProcess:
        assert self._switch is not None, "the network was not started"
        return self._switch

    @property
    def endpoint(self) -> str:
        return str(self.switch.wait_event("listening")["endpoint"])

    @property
    def clients(self) -> list[RedisVisitor]:
        return [visitor for visitor in self.visitors if isinstance(visitor, RedisVisitor)]

    @property
    def pings(self) -> list[PingVisitor]:
        return [visitor for visitor in self.visitors if isinstance(visitor, PingVisitor)]

    @property
    def left(self) -> bool:
        """Whether all clients have come and gone."""
        return bool(self._threads) and not any(thread.is_alive() for thread in self._threads)

    def answered(self, since: float) -> bool:
        """Whether every client has had an answer after that time, or has given up."""
        return all(v.trouble or v.answered[-1:] > [since] for v in self.visitors)

    def start(self, guard: Guard) -> None:
        """Raises `HostError` if there is no switch. Close it in any case."""
        if not self.without:
            self._start_with_passt(guard)
        if self.port is None:
            self._spawn(guard)
        try:
            self.switch.wait_event("listening")
        except PairError as error:
            words = last_words(self.switch)
            raise HostError(f"the switch did not start: {words}") from error

    def nic(self, which: Side) -> NicSpec:
        """Of a replica."""
        return NicSpec(_NIC, f"switch:{self.endpoint}", self._directory / f"{which}.pcap")

    def describe(self) -> str:
        if self.port is not None:
            return f"the switch runs; passt leads 127.0.0.1:{self.port} to the guest"
        return f"the switch runs, with no way into it: {self.without}"

    def visit(self, mac: str | None = None) -> str:
        """Let the clients begin, once; what they do. Without a `mac` the guest's is that of the
        first who connects to this switch."""
        if self.port is not None:
            self.visitors += [RedisVisitor(number + 1, self.port) for number in range(_CLIENTS)]
            deed = f"{_CLIENTS} clients connect by TCP; each does INCR on a key of its own"
        else:
            own, guest = IPv4Address(DEFAULT_GATEWAY), IPv4Interface(DEFAULT_GUEST).ip
            mac = mac or self.switch.wait_event("port-connected")["mac"]
            self.visitors.append(PingVisitor(self.endpoint, own, guest, mac))
            deed = "a host on the switch pings the guest"
        for visitor in self.visitors:
            thread = threading.Thread(target=visitor.run, args=(self._leave,), daemon=True)
            self._threads.append(thread)
            thread.start()
        return deed

    def dismiss(self) -> None:
        """Let the clients leave."""
        self._leave.set()

    def lines(self) -> list[str]:
        """For a screen."""
        lines = [visitor.line() for visitor in self.visitors]
        if ports := self.switch.status.get("ports"):
            lines.append(f"switch  {sum(port['received'] for port in ports)} frames")
        return lines

    def summary(self) -> str:
        """In one line."""
        answers = sum(len(visitor.answered) for visitor in self.visitors)
        widest = longest(self.visitors)
        return f"{answers} answers" + (f", gaps ≤ {widest.milliseconds:.0f} ms" if widest else "")

    def frames_from(self, pid: int) -> int:
        """How many the switch has got from a replica until now."""
        now = time.time()
        ports = self.switch.wait_status(lambda status: bool(status["time"] > now))["ports"]
        return sum(port["received"] for port in ports if _is_of(port, pid))

    def counted(self, pids: dict[str, int]) -> str:
        """In one line, what the switch has counted; replicas by their name."""
        dropped = sum(port["malformed"] + port["overflowed"] for port in self.ports)
        parts = []
        for port in self.ports:
            names = [name for name, pid in pids.items() if _is_of(port, pid)]
            name = names[0] if names else port["name"] if not port["guest"] else "the pinging host"
            parts.append(f"{port['received']} frames from {name}, {port['sent']} to it")
        return f"switch: {'; '.join(parts)}; {dropped or 'none'} dropped"

    def stop(self) -> None:
        """End the switch in good order."""
        self.switch.signal(SIGTERM)
        self.switch.wait_exit()
        self.ports = self.switch.wait_event("stopped")["ports"]

    def close(self) -> None:
        """Whatever has happened. Clients that are still there lose their connection."""
        self.dismiss()
        if self._switch is not None:
            self._switch.close()
        for thread in self._threads:
            thread.join(_LEAVING)

    def _start_with_passt(self, guard: Guard) -> None:
        port = _free_port()
        self._spawn(guard, "--uplink", "passt", "--forward", f"{port}:{_PORT}")
        try:
            self.switch.wait_event("uplink")
            self.port = port
        except PairError:
            self.without = last_words(self.switch)
            self.switch.close()

    def _spawn(self, guard: Guard, *options: str) -> None:
        arguments = ["switch", "--json", "--listen", "tcp://127.0.0.1:0", *options]
        self._switch = ReplicaProcess("switch", arguments, lambda: self.switch.report())
        guard.watch(self._switch.pid)


def last_words(process: ReplicaProcess) -> str:
    """Why a process ended, as it said itself."""
    words = [line.removeprefix("vlockstep: ") for line in process.text if line]
    return "; ".join(words) or "it said nothing"


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _is_of(port: dict[str, Any], pid: int) -> bool:
    return bool(port["name"].endswith(f":{pid}"))
