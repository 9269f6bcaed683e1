"""A cluster that is not there: many hosts and guests, with loads and lags that change.

    python -m tests.web.simulated --guests 1000 --hosts 8 --port 7790

serves it, with the tokens `TOKENS`.
"""

from __future__ import annotations

import argparse
import random
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from vlockstep.errors import UsageError
from vlockstep.web import server, serving, shapes
from vlockstep.web.auth import Tokens
from vlockstep.web.model import Picture
from vlockstep.web.serving import listen, serve
from vlockstep.web.source import Absent

TOKENS = Tokens("act-" + "a" * 20, "read-" + "r" * 20)
TEXT = "".join(f"line {number} of what it says\n" for number in range(5000)).encode()


class SimulatedSource:
    """`wild` names are full of markup. Each look moves a few guests' lags, tells an event, and ends
    tasks, but those of kinds that are `lasting`, which are ended only by who cancels them."""

    kind: shapes.Kind = "cluster"
    name = "a simulated cluster"
    lasting: frozenset[str] = frozenset()
    advice = ""
    """The reason of its recommendations, if it shall be another one."""

    def __init__(self, hosts: int = 8, guests: int = 1000, wild: bool = False) -> None:
        self._lock = threading.Lock()
        self._random = random.Random(1)
        self._hosts = {name: _host(name) for name in _names("host", hosts)}
        self._guests: dict[str, shapes.Guest] = {}
        self._tasks: dict[str, dict[str, Any]] = {}
        self._events: list[shapes.Event] = []
        names = [*self._hosts]
        self._hosts[names[0]]["master"] = True
        for number, name in enumerate(_names("guest", guests)):
            if wild and number % 10 == 0:
                name = f"<img src=x onerror=alert({number})>&\"'{name}"
            self._guests[name] = _guest(name, names[number % hosts], names[(number + 1) % hosts])

    def look(self) -> Picture:
        with self._lock:
            for name in self._random.sample([*self._guests], min(50, len(self._guests))):
                self._move_lag(name)
            for number, task in self._tasks.items():
                if task["state"] == "running" and task["kind"] not in self.lasting:
                    self._tasks[number] = {**task, "state": "done", "progress": "done"}
            some = self._random.choice([*self._guests])
            self._tell("replica-started", f"a replica of {some} runs", some)
            events, self._events = self._events, []
            return Picture(
                self._cluster(),
                dict(self._hosts),
                dict(self._guests),
                dict(self._tasks),
                {each["key"]: each for each in self._advice()},
                self._problems(),
                events,
            )

    def _move_lag(self, name: str) -> None:
        guest = self._guests[name]
        lag = round(self._random.expovariate(0.2), 1)
        replicas = {
            host: replica | {"lag_ms": lag if replica["role"] == "primary" else None}
            for host, replica in guest["replicas"].items()
        }
        self._guests[name] = cast(shapes.Guest, guest | {"replicas": replicas})

    def _tell(self, kind: str, text: str, guest: str | None) -> None:
        self._events.append(
            {
                "number": 0,
                "time": time.time(),
                "kind": kind,
                "text": text,
                "host": None,
                "guest": guest,
            }
        )

    def _cluster(self) -> shapes.Cluster:
        hosts = [*self._hosts]
        return {
            "name": "simulated",
            "ha": True,
            "ft": True,
            "drs": True,
            "automation": "partial",
            "threshold": 3,
            "admission": {"policy": "slots", "failures": 1},
            "status": {
                "master": hosts[0],
                "since": 0.0,
                "time": 0.0,
                "hosts": dict.fromkeys(hosts[1:], "connectedToMaster"),
                "pending": {},
                "faults": [],
                "imbalance": 0.21,
            },
            "target": 0.1,
            "datastores": {"shared": hosts, "second": hosts[:2]},
        }

    def _advice(self) -> list[shapes.Recommendation]:
        guests, hosts = [*self._guests][:3], [*self._hosts]
        return [
            {
                "key": f"{guest}:{hosts[-1]}",
                "priority": 2 + number,
                "reason": self.advice or f"{hosts[0]} is busy",
                "code": "balance",
                "gain": 0.05,
                "cost": 0.01,
                "risk": 0.0,
                "prerequisites": [],
                "moves": [{"guest": guest, "role": "primary", "from": hosts[0], "to": hosts[-1]}],
            }
            for number, guest in enumerate(guests)
        ]

    def _problems(self) -> list[shapes.Problem]:
        last = [*self._hosts][-1]
        return [
            {
                "what": f"{last} lives, but the master does not reach it",
                "cause": "its agent does not answer, the host does",
                "target": f"hosts/{last}",
                "do": "start its agent again",
            }
        ]

    def details(self, guest: str) -> shapes.GuestDetails:
        found = self._expect(guest)
        hosts = [*found["replicas"]]
        now = time.time()
        return {
            "name": guest,
            "secondary": "",
            "generations": [
                {
                    "generation": number + 1,
                    "since": now - 3600 / (number + 1),
                    "ruler": hosts[number % len(hosts)],
                    "members": 2,
                    "cause": "lost" if number else "started",
                    "reason": "it was started" if not number else "its primary was lost",
                }
                for number in range(4)
            ],
            "samples": [
                {
                    "time": now - 300 + second,
                    "lag_ms": (second * 7) % 11 / 2,
                    "lag_entries": second % 5,
                    "log_bytes_per_s": 1000.0 * (second % 17),
                    "disk_bytes_per_s": 4096.0 * (second % 3),
                    "network_frames_per_s": float(second % 23),
                }
                for second in range(300)
            ],
            "disks": {"disk": {"path": "disk.img", "block_size": 512}},
            "nics": {"net": {"group": "front"}},
            "arguments": ["--lines=100"],
            "console": "",
            "actions": {
                "switchover": "",
                "protect": "it is protected already",
                "unprotect": "",
                "migrate": "",
                "start": "it is powered on",
                "stop": "",
                "test-failover": "",
                "test-restart-secondary": "",
            },
            "hosts": [name for name in self._hosts if name not in hosts],
        }

    def console(self, guest: str, after: int | None) -> shapes.Console:
        self._expect(guest)
        size = len(TEXT)
        begin = max(0, size - (64 << 10)) if after is None else min(after, size)
        piece = TEXT[begin : begin + (64 << 10)]
        return {
            "guest": guest,
            "after": begin,
            "next": begin + len(piece),
            "size": size,
            "text": piece.decode(),
        }

    def compatibility(self, guest: str, host: str, role: str) -> shapes.Compatibility:
        self._expect(guest)
        here = host in self._guests[guest]["replicas"]
        problem = "one of its replicas is there" if here else ""
        checks = [("its datastore is there", ""), ("no other replica is there", problem)]
        return {"host": host, "possible": not here, "checks": checks}

    def act_on_guest(self, guest: str, action: str, given: Mapping[str, Any]) -> shapes.Done:
        self._expect(guest)
        if action == "protect" and self._guests[guest]["ft"]:
            raise UsageError(f"{guest} is protected already")
        return self._task(action, guest, given)

    def act_on_host(self, host: str, maintenance: bool) -> shapes.Done:
        if host not in self._hosts:
            raise UsageError(f"there is no host {host!r}")
        with self._lock:
            changed = self._hosts[host] | {"maintenance": maintenance}
            self._hosts[host] = cast(shapes.Host, changed)
        return self._task("maintenance", host, {"on": maintenance})

    def apply(self, keys: list[str]) -> shapes.Done:
        for key in keys:
            if key not in {each["key"] for each in self._advice()}:
                raise UsageError(f"there is no recommendation {key!r} any more")
        return self._task("migrate", keys[0].rpartition(":")[0], {})

    def cancel(self, task: int) -> shapes.Done:
        if str(task) not in self._tasks:
            raise UsageError(f"there is no task {task}")
        with self._lock:
            found = self._tasks[str(task)]
            if found["kind"] not in self.lasting or found["state"] != "running":
                raise UsageError(f"task {task} is over already")
            self._tasks[str(task)] = found | {"state": "canceled", "cancel": True}
            return {"task": self._tasks[str(task)]}

    def close(self) -> None: ...

    def _task(self, kind: str, target: str, given: Mapping[str, Any]) -> shapes.Done:
        with self._lock:
            number = len(self._tasks) + 1
            task = {
                "number": number,
                "kind": kind,
                "target": target,
                "by": "the page",
                "created": time.time(),
                "details": dict(given),
                "state": "running",
                "progress": "begins",
                "reason": "",
                "result": {},
                "cancel": False,
                "begun": time.time(),
                "ended": None,
            }
            self._tasks[str(number)] = task
            self._tell("task", f"{kind} {target}", target if target in self._guests else None)
        return {"task": task}

    def _expect(self, guest: str) -> shapes.Guest:
        if guest not in self._guests:
            raise Absent(f"there is no guest {guest!r}")
        return self._guests[guest]


def _names(what: str, count: int) -> list[str]:
    width = len(str(count))
    return [f"{what}-{number:0{width}}" for number in range(1, count + 1)]


def _host(name: str) -> shapes.Host:
    return {
        "name": name,
        "cpu": 40000.0,
        "memory": 65536.0,
        "maintenance": False,
        "state": "connectedToMaster",
        "explanation": "",
        "master": False,
        "level": "good",
        "report": {"time": time.time(), "cpu": 12000.0, "memory": 30000.0},
    }


def _guest(name: str, primary: str, secondary: str) -> shapes.Guest:
    return {
        "name": name,
        "image": "ledger",
        "power": "on",
        "host": primary,
        "ft": True,
        "protection": "protected",
        "level": "good",
        "replicas": {
            primary: _replica(primary, "primary"),
            secondary: _replica(secondary, "secondary"),
        },
        "peers": [],
        "pending": "",
        "migration": None,
    }


def _replica(host: str, role: Any) -> shapes.Replica:
    return {
        "host": host,
        "life": "running",
        "role": role,
        "state": "protected" if role == "primary" else "following",
        "state_text": "protected" if role == "primary" else "following",
        "generation": 1,
        "members": 2,
        "endpoint": "tcp://192.0.2.1:7700",
        "lag_ms": 1.0 if role == "primary" else None,
        "lag_entries": 2,
        "log_bytes_per_s": 1000.0,
        "disk_bytes_per_s": 0.0,
        "network_frames_per_s": 10.0,
        "cpu": 20.0,
        "memory": 32.0,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--hosts", type=int, default=8)
    parser.add_argument("--guests", type=int, default=1000)
    parser.add_argument("--wild", action="store_true")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--patience", type=float, default=server.PATIENCE)
    parser.add_argument("--head-seconds", type=float, default=serving.HEAD_SECONDS)
    parser.add_argument("--tls", type=Path, nargs=2, metavar=("CERTIFICATE", "KEY"))
    given = parser.parse_args()
    server.PATIENCE, serving.HEAD_SECONDS = given.patience, given.head_seconds
    listener = listen("127.0.0.1", given.port)
    port = listener.getsockname()[1]
    source = SimulatedSource(given.hosts, given.guests, given.wild)

    def ready() -> None:
        print(f"http://127.0.0.1:{port}/#token={TOKENS.act}", flush=True)

    serve(source, TOKENS, listener, given.tls, ready)


if __name__ == "__main__":
    main()
