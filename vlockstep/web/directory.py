"""The view of the guests that run on this computer, by their control sockets."""

from __future__ import annotations

import shlex
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, cast

from vlockstep.arbiter import ReignCause
from vlockstep.errors import UsageError
from vlockstep.supervise.board import Board, Line
from vlockstep.supervise.client import GuestClient, Watch, facts
from vlockstep.supervise.rundir import RunDirectory
from vlockstep.supervise.texts import text_of
from vlockstep.web import shapes
from vlockstep.web.arbiters import reigns_of
from vlockstep.web.consoles import read_console
from vlockstep.web.endings import Endings
from vlockstep.web.history import History
from vlockstep.web.localtasks import Came, LocalTasks, Work
from vlockstep.web.model import Picture
from vlockstep.web.problems import MOST, problems_of_guests
from vlockstep.web.protecting import PROTECTING, asked_to_protect
from vlockstep.web.reigns import Reigns
from vlockstep.web.source import Absent, refuse_others, role_of

LOOK_SECONDS = 0.8
"""For all guests to answer."""
_QUIET = ("migrating", "disk-moving")
"""Events that come all the time, and show elsewhere."""
_REIGNS = {
    "live": "",
    "alone": ReignCause.WITHOUT,
    "joined": ReignCause.JOINED,
}
"""Events with which a generation begins, and its cause, where they do not tell that themselves."""
_LEVELS: Mapping[str, shapes.Level] = {
    "no answer": "bad",
    "ALONE": "bad",
    "unprotected": "plain",
    "protected": "good",
    "following": "good",
    "live": "good",
}


class DirectorySource:
    """Of the guests in a run directory."""

    kind: shapes.Kind = "guests"

    def __init__(self, directory: RunDirectory) -> None:
        self.name = str(directory.path)
        self._directory = directory
        self._host = socket.gethostname()
        self._watch = Watch(directory, self._heard)
        self._board = Board()
        self._lock = threading.Lock()
        self._histories: dict[str, History] = {}
        self._reigns: dict[str, Reigns] = {}
        """By arbiter, or by name of who has none."""
        self._events: list[shapes.Event] = []
        self._arbiters: dict[str, str | None] = {}
        """By guest, as far as they are known."""
        self._secondaries: dict[str, str] = {}
        """By guest that was protected here, the command that starts a secondary."""
        self._endings = Endings()
        self._tasks = LocalTasks(self._ended)

    def look(self) -> Picture:
        sights = self._watch.look(LOOK_SECONDS)
        with self._lock:
            self._board.see(sights, time.monotonic())
            lines = {line.name: line for line in self._board.lines}
            self._histories = {name: self._history(name) for name in lines}
            self._secondaries = {n: words for n, words in self._secondaries.items() if n in lines}
            self._arbiters = {name: self._arbiter(line) for name, line in lines.items()}
            groups = {name: self._group(name) for name in lines}
            self._reigns = {g: self._reigns.get(g) or Reigns() for g in groups.values()}
            self._endings.see(groups, time.time())
            guests = {name: self._guest(line) for name, line in lines.items()}
            events = sorted(self._events, key=lambda event: event["time"])
            self._events = []
        problems = [*problems_of_guests(guests), *self._endings.problems()][:MOST]
        host = self._this_host(problems)
        tasks = self._tasks.all()
        return Picture(None, {self._host: host}, guests, tasks, {}, problems, events)

    def _history(self, name: str) -> History:
        return self._histories.get(name) or History()

    def _arbiter(self, line: Line) -> str | None:
        """A guest may have got it since it was started."""
        told = line.status and line.status.get("arbiter")
        return told or line.about.get("arbiter") or self._arbiters.get(line.name)

    def _group(self, name: str) -> str:
        """What replicas of one guest have in common."""
        return self._arbiters.get(name) or name

    def _guest(self, line: Line) -> shapes.Guest:
        history, status, about = self._histories[line.name], line.status, line.about
        arbiter = self._arbiters[line.name]
        reigns = self._reigns[self._group(line.name)]
        reigns.runs(about.get("pid", 0), line.name)
        replica = _replica(self._host, line)
        if status is not None:
            now = time.time()
            history.sample(now, replica)
            if status["role"] == "primary" and status["generation"]:
                generation, members = status["generation"], status["members"]
                cause, silent = status.get("cause", ""), status.get("silent_ms")
                reigns.ruled(generation, now, line.name, members, cause, silent)
        guest: shapes.Guest = {
            "name": line.name,
            "image": str(about.get("image", "")),
            "power": "on",
            "host": self._host,
            "ft": replica["role"] not in (None, "unprotected"),
            "protection": line.protection,
            "level": _LEVELS.get(line.protection, "warn"),
            "replicas": {self._host: replica},
            "peers": [
                name
                for name, other in self._arbiters.items()
                if name != line.name and arbiter is not None and other == arbiter
            ],
            "pending": "",
            "migration": history.migration,
            "status": None if status is None else dict(status),
        }
        told = {"pid", "arguments", "started_as", "since"} & about.keys()
        facts = {key: about[key] for key in told} | {"arbiter": arbiter}
        return cast(shapes.Guest, guest | facts)

    def _this_host(self, problems: list[shapes.Problem]) -> shapes.Host:
        return {
            "name": self._host,
            "cpu": 0.0,
            "memory": 0.0,
            "maintenance": False,
            "state": "here",
            "explanation": "",
            "master": False,
            "level": "warn" if problems else "good",
            "report": None,
        }

    def _heard(self, name: str, about: Mapping[str, Any], said: Mapping[str, Any]) -> None:
        """Within `look`."""
        with self._lock:
            history = self._histories.setdefault(name, History())
            text, when = text_of(said, about.get("started_as")), float(said["time"])
            self._endings.heard(name, about.get("instance"), said)
            if said["event"] == "migrating":
                history.moves(when, said)
            elif said["event"] in _REIGNS:
                members, cause = said.get("members", 1), said.get("cause", _REIGNS[said["event"]])
                self._arbiters.setdefault(name, about.get("arbiter"))
                reigns = self._reigns.setdefault(self._group(name), Reigns())
                silent = said.get("silent_ms")
                reigns.ruled(said["generation"], when, name, members, cause, silent)
            elif said["event"] in ("left", "stopped", "finished"):
                history.stays()
            if said["event"] not in _QUIET:
                details = {key: said[key] for key in said.keys() - {"event", "time", "revision"}}
                self._events.append(self._event(when, str(said["event"]), text, name, details))

    def _event(
        self, when: float, kind: str, text: str, guest: str, details: dict[str, Any]
    ) -> shapes.Event:
        return {
            "number": 0,
            "time": when,
            "kind": kind,
            "text": text,
            "host": self._host,
            "guest": guest,
            "details": details,
        }

    # What a person asks

    def details(self, guest: str) -> shapes.GuestDetails:
        with self._lock:
            line, history = self._line(guest), self._histories[guest]
            reigns, samples = self._reigns[self._group(guest)].copy(), history.samples
            arbiter = self._arbiters[guest]
            status = line.status or {}
            waits = status.get("role") == "primary" and _lonely(status)
            secondary = self._secondaries.get(guest, "") if waits else ""
        generations = reigns.all(reigns_of(Path(arbiter) if arbiter else None))
        return {
            "name": guest,
            "generations": generations,
            "samples": samples,
            "disks": {name: dict(each) for name, each in status.get("disks", {}).items()},
            "nics": {name: dict(each) for name, each in status.get("nics", {}).items()},
            "arguments": list(line.about.get("arguments", ())),
            "console": "" if line.about.get("console") else _NO_CONSOLE,
            "actions": _actions(line),
            "secondary": secondary,
            "hosts": [],
        }

    def console(self, guest: str, after: int | None) -> shapes.Console:
        with self._lock:
            path = self._line(guest).about.get("console")
        if not path:
            raise UsageError(_NO_CONSOLE)
        return read_console(guest, Path(path), after)

    def compatibility(self, guest: str, host: str, role: str) -> shapes.Compatibility:
        role_of(role)
        with self._lock:
            problem = _actions(self._line(guest))["migrate"]
        checks = [("a replica of it may move", problem)]
        return {"host": host, "possible": not problem, "checks": checks}

    def act_on_guest(self, guest: str, action: str, given: Mapping[str, Any]) -> shapes.Done:
        with self._lock:
            refused = _actions(self._line(guest)).get(action, "there is no such action")
        if refused:
            raise UsageError(refused)
        refuse_others(given, ("to", *PROTECTING), "of a guest that is in no cluster")
        cancel: Callable[[], None] | None = None
        work: Work
        details: dict[str, Any] = {}
        match action:
            case "protect":
                asked = asked_to_protect(given)
                details = {name: asked[name] for name in ("arbiter", "listen")}
                work = self._asks(guest, "protect", partial(self._protected, guest), **asked)
            case "switchover":
                work = self._asks(guest, "switchover", lambda told: (_RULES.format(**told), {}))
            case "stop":
                reason = "stopped in the management view"
                work = self._asks(guest, "stop", lambda _: ("it ends", {}), reason=reason)
            case _:
                endpoint = given.get("to")
                if not isinstance(endpoint, str):
                    raise UsageError('say where a replica waits for it: "to" is an endpoint')
                details = {"to": endpoint}
                work = self._asks(guest, "migrate", _moved, to=endpoint)
                cancel = self._canceller(guest)
                with self._lock:
                    self._histories[guest].to = endpoint
        return {"task": self._tasks.start(action, guest, details, work, cancel)}

    def _asks(
        self, guest: str, command: str, outcome: Callable[[Mapping[str, Any]], Came], **details: Any
    ) -> Work:
        def work(tell: Callable[[str], None]) -> Came:
            with closing(GuestClient(self._directory, guest)) as client:
                return outcome(client.request(command, tell, **details))

        return work

    def _protected(self, guest: str, told: Mapping[str, Any]) -> Came:
        command = shlex.join(told["secondary"])
        with self._lock:
            self._secondaries[guest] = command
        return f"replicas can join it at {told['endpoint']}", {"secondary": command}

    def _canceller(self, guest: str) -> Callable[[], None]:
        def cancel() -> None:
            with closing(GuestClient(self._directory, guest)) as client:
                if not client.ask("cancel-migration")["cancelled"]:
                    raise UsageError(f"nothing of {guest} moves that could still be called off")

        return cancel

    def act_on_host(self, host: str, maintenance: bool) -> shapes.Done:
        raise UsageError(_IN_A_CLUSTER)

    def apply(self, keys: list[str]) -> shapes.Done:
        raise UsageError(_IN_A_CLUSTER)

    def cancel(self, task: int) -> shapes.Done:
        return {"task": self._tasks.cancel(task)}

    def close(self) -> None:
        self._watch.close()

    def _ended(self, task: dict[str, Any]) -> None:
        if task["state"] == "failed":
            text = f"{task['kind']} of {task['target']}: {task['reason']}"
            with self._lock:
                self._events.append(
                    self._event(time.time(), "task-failed", text, task["target"], {})
                )

    def _line(self, guest: str) -> Line:
        for line in self._board.lines:
            if line.name == guest:
                return line
        raise Absent(f"there is no guest {guest!r} here")


_IN_A_CLUSTER = "only hosts of a cluster do that"
_NO_CONSOLE = "its text goes where its process was started, not to a file"
_RULES = "generation {generation} rules"


def _moved(report: Mapping[str, Any]) -> Came:
    text = f"moved in {report['total_ms']:.0f} ms, {report['bytes'] / 1e6:.1f} MB"
    if report["role"] == "primary":
        text += f"; it stood for {report['gap_ms']:.1f} ms"
    return text, {"took": facts(report)}


def _actions(line: Line) -> dict[str, str]:
    """Why each is refused, if it is."""
    status = line.status
    silent = "" if status is not None else "it does not answer"
    role = status["role"] if status is not None else ""
    alone = "no other replica has it" if role != "secondary" and status and _lonely(status) else ""
    unprotected = "nobody protects it" if role == "unprotected" else ""
    protect = "" if unprotected else "it is protected, or lets replicas join already"
    return {
        "switchover": silent or unprotected or alone,
        "protect": silent or protect,
        "unprotect": silent or unprotected or "end the process of its secondary: that asks nobody",
        "migrate": silent or (unprotected and f"{unprotected}: protect it first"),
        "start": "it runs",
        "stop": silent,
        "test-failover": _IN_A_CLUSTER,
        "test-restart-secondary": _IN_A_CLUSTER,
    }


def _lonely(status: Mapping[str, Any]) -> bool:
    return bool(status["members"] < 2)


def _replica(host: str, line: Line) -> shapes.Replica:
    status = line.status or {}
    return {
        "host": host,
        "life": "running",
        "role": status.get("role"),
        "state": status.get("state", ""),
        "state_text": status.get("state_text", line.protection),
        "generation": status.get("generation", 0),
        "members": status.get("members", 0),
        "endpoint": status.get("endpoint", ""),
        "lag_ms": status.get("lag_ms"),
        "lag_entries": status.get("lag_entries"),
        "log_bytes_per_s": line.log_rate,
        "disk_bytes_per_s": line.disk_rate,
        "network_frames_per_s": line.frame_rate,
    }
