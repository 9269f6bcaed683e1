"""A cluster of hosts on this computer: each an agent, a switch and replicas, all real processes.

with HostCluster(tmp_path, ["a", "b", "c"]) as cluster:
    cluster.create("books", "ledger", ["--lines=1000"], disk="1M", ft=True)
    cluster.do("start", "books")
    cluster.kill(cluster.primary("books"))
    cluster.wait(lambda: cluster.members("books") == 2, "protection")
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from vlockstep.arbiter import DirectoryArbiter, Reign
from vlockstep.cluster.guestfile import parse
from vlockstep.cluster.model import Role
from vlockstep.cluster.operator import Operator
from vlockstep.cluster.records import ClusterEvent, Life, ReplicaReport, Task
from vlockstep.cluster.store import open_store
from vlockstep.errors import VlockstepError
from vlockstep.files.processes import runs
from vlockstep.program.tracebacks import hide
from vlockstep.testing.process import PairError, ReplicaProcess

__tracebackhide__ = hide

TIMEOUT = 60.0
DATASTORE = "shared"
_T = TypeVar("_T")
_TICK = 0.05


class HostCluster:
    """`hosts` are their names, with options of `vlockstep host` if they are a mapping. Its files
    are in `directory`; `store` is the cluster's, by default a directory there. Hosts that are not
    cut off can reach the `isolation_address`, or one of this process if they are to find themselves
    `isolated`; agents run `under` these commands, as replicas do; `settings` are the cluster's."""

    def __init__(
        self,
        directory: Path,
        hosts: Iterable[str] | Mapping[str, Sequence[str]],
        *,
        store: str | None = None,
        isolation_address: str | None = None,
        isolated: bool = False,
        under: Mapping[str, Sequence[object]] | None = None,
        **settings: Any,
    ) -> None:
        self.directory = directory
        self.shared = directory / DATASTORE
        self.shared.mkdir(parents=True, exist_ok=True)
        self.store = store or str(directory / "store")
        if store is None:
            Path(self.store).mkdir()
        self._listener: socket.socket | None = None
        if isolated:
            self._listener = socket.create_server(("127.0.0.1", 0))
            threading.Thread(target=_answer, args=(self._listener,), daemon=True).start()
            isolation_address = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._isolation_address = isolation_address
        self._options = dict(hosts) if isinstance(hosts, Mapping) else dict.fromkeys(hosts, ())
        self._under = under or {}
        self.agents: dict[str, ReplicaProcess] = {}
        self.operator = Operator(open_store(self.store))
        self.operator.create("test", **settings)

    def __enter__(self) -> HostCluster:
        """The first host is master."""
        try:
            first, *others = self._options
            self.start(first)
            self.agents[first].wait_event("state", TIMEOUT, state="master")
            for host in others:
                self.start(host)
            self.wait(self._complete, "a master and its slaves")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill all there is."""
        for host in self._options:
            self.kill(host)
        for agent in self.agents.values():
            agent.close()
        if self._listener is not None:
            self._listener.close()

    # Hosts

    def start(self, host: str) -> None:
        """Its agent, at first or again."""
        if host in self.agents:
            self.agents[host].close()
        arguments = ["host", host, "--cluster", self.store, "--state", self.state(host), "--json"]
        arguments += ["--datastore", f"{DATASTORE}={self.shared}", "--cut", self._cut(host)]
        if self._isolation_address is not None:
            arguments += ["--isolation-address", self._isolation_address]
        arguments += self._options[host]
        self.agents[host] = ReplicaProcess(host, arguments, self.report, self._under.get(host, ()))

    def state(self, host: str) -> Path:
        """The directory of its own files."""
        return self.directory / "hosts" / host

    def pids(self, host: str) -> dict[str, int]:
        """Of its processes that run, by what they are."""
        found = {}
        agent = self.agents.get(host)
        if agent is not None and agent.exit_status is None:
            found["agent"] = agent.pid
        facts = [("switch", self.state(host) / "switch.json")]
        guests = (self.state(host) / "guests").glob("*/order.json")
        facts += [(path.parent.name, path) for path in guests]
        for name, path in facts:
            with suppress(OSError, ValueError, KeyError):
                told = json.loads(path.read_text())
                if runs(told["pid"], told["identity"]):
                    found[name] = told["pid"]
        return found

    def signal(self, host: str, number: signal.Signals, *names: str) -> None:
        """To these processes of the host, or to all."""
        for name, pid in self.pids(host).items():
            if not names or name in names:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)

    def cut(self, host: str) -> None:
        """Off from the management network. Its switch dies, since that answers pings."""
        self._cut(host).touch()
        self.signal(host, signal.SIGKILL, "switch")

    def mend(self, host: str) -> None:
        self._cut(host).unlink()

    def _cut(self, host: str) -> Path:
        return self.directory / f"{host}.cut"

    def kill(self, host: str) -> None:
        """All of it at once, as when its power fails."""
        self.signal(host, signal.SIGSTOP)
        self.signal(host, signal.SIGKILL)

    @property
    def master(self) -> str:
        status = self.operator.status()
        return status.master if status is not None else ""

    def host_states(self) -> Mapping[str, str]:
        status = self.operator.status()
        return status.hosts if status is not None else {}

    # Guests

    def create(
        self,
        name: str,
        image: str,
        arguments: Sequence[str] = (),
        disks: Mapping[str, int] | None = None,
        **settings: Any,
    ) -> None:
        """`disks` are sizes in bytes; `settings` as guest.toml has them."""
        file = parse({"image": image, "arguments": [*arguments], "memory": 32, **settings})
        self.operator.create_guest(name, DATASTORE, file, None, disks or {})

    def folder(self, guest: str) -> Path:
        return self.shared / guest

    def console(self, guest: str) -> bytes:
        path = self.folder(guest) / "console.txt"
        return path.read_bytes() if path.exists() else b""

    def reigns(self, guest: str) -> list[Reign]:
        return DirectoryArbiter(self.folder(guest) / "arbiter", "test").reigns()

    def replicas(self, guest: str) -> dict[str, ReplicaReport]:
        """Those that run, by host, as the newest reports say."""
        orders = self.operator.orders()
        return {
            host: report.replicas[guest]
            for host, report in self.operator.reports().items()
            if f"{host}/{guest}" in orders
            and guest in report.replicas
            and report.replicas[guest].life is not Life.ENDED
        }

    def primary(self, guest: str) -> str:
        """The host of who rules; "" if nobody does."""
        ruling = {h: r for h, r in self.replicas(guest).items() if r.role is Role.PRIMARY}
        return max(ruling, key=lambda host: ruling[host].generation, default="")

    def members(self, guest: str) -> int:
        host = self.primary(guest)
        return self.replicas(guest)[host].members if host else 0

    # Tasks

    def do(self, kind: str, target: str, **details: Any) -> Task:
        """A task, to its end. Raises `HostError` if it fails."""
        return self.operator.follow(
            self.operator.submit(kind, target, **details), lambda task: None
        )

    def events(self, kind: str | None = None) -> list[ClusterEvent]:
        return [e for e in self.operator.events() if kind in (None, e.kind)]

    # Waiting

    def wait(self, find: Callable[[], _T], what: str, timeout: float = TIMEOUT) -> _T:
        """Until `find` finds something."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                if found := find():
                    return found
            except VlockstepError:
                if time.monotonic() > deadline:
                    raise
            if time.monotonic() > deadline:
                text = f"waited for {what}: not within {timeout:g} s"
                raise PairError(f"{text}\n\n{self.report()}")
            time.sleep(_TICK)

    def _complete(self) -> bool:
        states = self.host_states()
        return {*states} == {*self._options} and all(
            state in ("master", "connectedToMaster") for state in states.values()
        )

    def report(self) -> str:
        """For people: how it stands, and what happened."""
        lines = []
        with suppress(VlockstepError):
            lines += [f"{event.time:.3f} {event.text}" for event in self.operator.events()]
            lines += [str(task) for task in self.operator.tasks()]
            lines += [f"{h}: {r.replicas}" for h, r in self.operator.reports().items()]
            lines.append(str(self.operator.status()))
        for path in sorted((self.directory / "hosts").glob("*/guests/*/output.txt")):
            lines += [str(path), path.read_text(errors="replace")[-2000:]]
        lines += [agent.report() for agent in self.agents.values()]
        return "\n".join(lines)


def _answer(listener: socket.socket) -> None:
    """Whoever connects."""
    with suppress(OSError):
        while True:
            listener.accept()[0].close()
