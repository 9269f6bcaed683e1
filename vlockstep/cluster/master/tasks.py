"""What somebody has asked for: each kind of task, from the question whether it can be to its end.

What a task has come to stands in its record and in the orders that it has given, so that another
master can go on with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vlockstep.cluster.ha.states import Availability
from vlockstep.cluster.master.guests import primary_of
from vlockstep.cluster.master.protecting import Protecting
from vlockstep.cluster.master.taskround import (
    LEAVE_SECONDS,
    START_SECONDS,
    Later,
    Refused,
    TaskRound,
)
from vlockstep.cluster.master.view import Seat, Stored, View
from vlockstep.cluster.model import Automation, Replica, Role
from vlockstep.cluster.placement import Placement, fits, ranked, why_not
from vlockstep.cluster.records import Begin, End, Power, Task, TaskState

STOP_SECONDS = 10.0
"""After that its processes are killed."""
_ALIVE = (Availability.MASTER, Availability.CONNECTED)
MOVE_AGAIN = 10.0
"""So long after a guest's last move a host in maintenance waits for another one."""
Admit = Callable[[View, str], str]
"""Why a guest may not be powered on now; "" if it may."""


class Tasks(TaskRound):
    """Goes on with all tasks, once in a round."""

    def __init__(self, view: View, admit: Admit, now: float, since: dict[int, float]) -> None:
        super().__init__(view, now, since)
        self._admit = admit
        protecting = Protecting(view, now, since)
        self.again = protecting.again
        self._kinds: Mapping[str, Callable[[Stored[Task]], None]] = {
            "start": self._start,
            "stop": self._stop,
            "migrate": self._migrate,
            "protect": protecting.protect,
            "unprotect": protecting.protect,
            "switchover": protecting.switch_over,
            "test-failover": protecting.test_failover,
            "test-restart-secondary": protecting.test_restart,
            "maintenance": self._maintenance,
            "remove-host": self._remove_host,
        }

    def round(self) -> None:
        for task in list(self._view.open_tasks()):
            record = task.record
            if record.cancel and record.state is TaskState.QUEUED:
                self._end(task, TaskState.CANCELED, reason="called off")
                continue
            if record.target in self._view.guests and not self._view.ours(record.target):
                continue
            do = self._kinds.get(record.kind)
            try:
                if do is None:
                    raise Refused(f"this master knows no task {record.kind!r}")
                do(task)
            except Later as error:
                if self._late(task, START_SECONDS):
                    self._end(task, TaskState.FAILED, reason=str(error))
            except Refused as error:
                self._end(task, TaskState.FAILED, reason=str(error))

    # Power

    def _start(self, task: Stored[Task]) -> None:
        name = self._guest(task)
        record = self._view.guests[name].record
        if task.record.state is TaskState.QUEUED:
            if record.power is Power.ON:
                raise Refused(f"{name} is powered on already")
            if any(seat.trusted and not seat.over for seat in self._view.seats(name)):
                raise Later(f"{name} has not ended yet")
            host = self._place(name, task.record.details.get("host"))
            if problem := self._admit(self._view, name):
                raise Refused(problem)
            attempt = record.attempt + 1
            if not self._go(task, f"starts on {host}", host=host, attempt=attempt):
                return
            if self._view.set_guest(name, power=Power.ON, ended=""):
                self._view.order(host, name, Begin.BOOT)
            return
        host, attempt = task.record.result["host"], task.record.result["attempt"]
        seats = self._view.seats(name)
        if primary_of(seats) is not None:
            self._done(task, f"runs on {host}")
            self._view.event("guest-started", f"{name} runs on {host}", host, name)
            return
        seat = next((seat for seat in seats if seat.host == host), None)
        if record.attempt != attempt or record.power is Power.OFF:
            raise Refused(f"{name} was powered off, or started by another one")
        if task.record.cancel and self._view.set_guest(name, power=Power.OFF):
            self._end(task, TaskState.CANCELED, reason="called off")
        elif seat is not None and seat.over and seat.report is not None:
            status = seat.report.status
            ended = f"it ended at once, with status {status}: see console.txt in its folder"
            ended = seat.report.problem or ended
            self._view.set_guest(name, power=Power.OFF, ended=ended)
            raise Refused(f"{name} did not start on {host}: {ended}")
        elif self._late(task, START_SECONDS) and self._view.set_guest(name, power=Power.OFF):
            raise Refused(f"{name} did not start on {host} within {START_SECONDS:g} s")

    def _stop(self, task: Stored[Task]) -> None:
        name = self._guest(task)
        if task.record.state is TaskState.QUEUED:
            if self._view.guests[name].record.power is Power.OFF:
                raise Refused(f"{name} is powered off already")
            if self._view.set_guest(name, power=Power.OFF, ended=""):
                self._go(task, "is powered off")
            return
        if self._view.guests[name].record.power is Power.ON:
            raise Refused(f"{name} was powered on again meanwhile")
        seats = [seat for seat in self._view.seats(name) if not seat.over]
        left = [seat for seat in seats if seat.trusted]
        unknown = (s for s in seats if s.order is not None and not (s.trusted or s.lost))
        silent = ", ".join(sorted({seat.host for seat in unknown}))
        if not left and silent:
            self._tell(task, f"waits for {silent} to report: {name} may still run there")
        elif not left:
            self._done(task, "powered off")
            self._view.event("guest-stopped", f"{name} is powered off", guest=name)
        elif task.record.details.get("force") or self._late(task, STOP_SECONDS):
            for seat in left:
                if seat.order is not None:
                    self._view.change_order(seat, end=End.KILL, reason="powered off")

    # Moves

    def _migrate(self, task: Stored[Task]) -> None:
        name = self._guest(task)
        seats = self._view.seats(name)
        primary = primary_of(seats)
        if task.record.state is TaskState.QUEUED:
            if self._view.guests[name].record.power is Power.OFF:
                raise Refused(f"{name} is powered off")
            self._begin_migration(task, name, seats, primary)
            return
        result = task.record.result
        by_host = {seat.host: seat for seat in seats}
        source, target = by_host.get(result["from"]), by_host.get(result["to"])
        attempt: int = result["attempt"]
        arrived = target is not None and self._has_arrived(target, result)
        moved = None
        if source is not None and source.report is not None:
            report = source.report
            moved = report.moved if report.mover == task.record.number else None
        gone = source is None or source.over or source.lost
        if arrived and (gone or moved == "" or result["role"] == Role.PRIMARY):
            self._arrived(task, name, source, result)
            return
        problem = moved or self._lost(task, name, source, target)
        if problem:
            if target is not None and target.attempt == attempt and not target.begun:
                self._view.change_order(target, end=End.LEAVE, reason=problem)
            if source is not None and source.order is not None:
                self._view.change_order(source, move=None)
            state = TaskState.CANCELED if task.record.cancel else TaskState.FAILED
            self._end(task, state, reason=problem)
            return
        assert target is not None
        if source is None or source.over:
            return
        if task.record.cancel:
            if source.order is not None and source.order.record.move is None:
                self._view.change_order(target, end=End.LEAVE, reason="called off")
                self._end(task, TaskState.CANCELED, reason="called off")
                return
            self._view.change_order(source, cancel=True)
        elif target.runs and target.report is not None and target.report.endpoint:
            self._view.change_order(
                source, move=target.report.endpoint, mover=task.record.number, cancel=False
            )
        if source.report is not None and source.report.moving:
            self._tell(task, source.report.moving)

    def _begin_migration(
        self, task: Stored[Task], name: str, seats: list[Seat], primary: Seat | None
    ) -> None:
        details = task.record.details
        if name in self.busy:
            return  # it waits its turn
        role = Role(details.get("role", Role.PRIMARY))
        source = primary
        if role is Role.SECONDARY:
            others = [s for s in seats if s is not primary and s.trusted and s.runs]
            source = next(iter(others), None)
        if primary is None or source is None:
            raise self._lacks(seats, f"{name} has no {role} that runs")
        if source.order is None:
            return  # it gets one
        target = self._place(name, details.get("host"), role, without=source.host)
        attempt = self._view.guests[name].record.attempt + 1
        text = f"moves from {source.host} to {target}"
        told = {"from": source.host, "to": target, "role": str(role), "attempt": attempt}
        if self._go(task, text, **told):
            self._view.order(target, name, Begin.RECEIVE, role=role)

    def _has_arrived(self, target: Seat, result: Mapping[str, Any]) -> bool:
        """A primary has when it rules, whatever is said where it was."""
        if not (target.trusted and target.begun and target.attempt == result["attempt"]):
            return False
        assert target.report is not None
        return result["role"] == Role.SECONDARY or target.report.role is Role.PRIMARY

    def _arrived(
        self, task: Stored[Task], name: str, source: Seat | None, result: Mapping[str, Any]
    ) -> None:
        if source is not None and source.order is not None:
            if source.over or source.lost:
                self._view.withdraw(source)
            elif not self._late(task, LEAVE_SECONDS):
                return  # it leaves
        if result["role"] == Role.PRIMARY:
            self._view.set_guest(name, host=result["to"])
        text = f"moved from {result['from']} to {result['to']}"
        report = source.report if source is not None else None
        told = report is not None and report.mover == task.record.number
        self._done(task, text, took=dict(report.took) if report is not None and told else {})
        self._view.event("guest-moved", f"{name} has {text}", result["to"], name)

    def _lost(self, task: Stored[Task], name: str, source: Seat | None, target: Seat | None) -> str:
        """Why a migration cannot come to its end."""
        attempt = task.record.result["attempt"]
        if target is None or target.order is None or target.order.record.attempt != attempt:
            return "its place at the destination is gone"
        if target.over and target.report is not None:
            return f"{target.host}: {target.report.problem or 'it did not wait'}"
        for seat in (source, target):
            if seat is not None and seat.lost:
                return f"the host {seat.host} is lost"
        if source is None or source.over:  # it has moved, or died: the target will tell
            since = self._since.setdefault(-task.record.number, self._now)
            if self._now <= since + LEAVE_SECONDS:
                return ""
            return f"{name} does not run any more where it was to move from"
        waits = source.order is None or source.order.record.move is None
        if waits and self._late(task, START_SECONDS):
            return f"{target.host} was not ready within {START_SECONDS:g} s"
        return ""

    # Hosts

    def _maintenance(self, task: Stored[Task]) -> None:
        name = task.record.target
        host = self._view.hosts.get(name)
        if host is None:
            raise Refused(f"there is no host {name!r}")
        wanted = bool(task.record.details.get("on"))
        if task.record.state is TaskState.QUEUED:
            if host.record.maintenance is wanted:
                raise Refused(
                    f"{name} is {'in maintenance already' if wanted else 'not in maintenance'}"
                )
            self._go(task, "its guests leave" if wanted else "it comes back")
            return
        later = any(
            other.record.kind == "maintenance"
            and other.record.target == name
            and other.record.number > task.record.number
            for other in self._view.open_tasks()
        )
        if later:
            self._end(task, TaskState.CANCELED, reason="another task was asked for later")
            return
        if host.record.maintenance is not wanted and not task.record.cancel:
            self._view.set_host(name, maintenance=wanted, left=False)
            return
        if not wanted:
            if name not in self._view.beliefs.usable and not self._late(task, START_SECONDS):
                return
            self._view.event("host-available", f"{name} takes guests again", name)
            self._done(task, "takes guests again")
            return
        if task.record.cancel:
            if self._view.set_host(name, maintenance=False):
                self._end(task, TaskState.CANCELED, reason="called off")
            return
        left = self._view.on(name)
        limit = task.record.details.get("timeout")
        if not left:
            if self._goes_on_without(name) and not self._view.set_host(name, left=True):
                return
            self._done(task, "in maintenance")
            self._view.event("host-maintenance", f"{name} is in maintenance", name)
        elif limit is not None and self._late(task, limit):
            self._view.set_host(name, maintenance=False)
            raise Refused(f"after {limit:g} s there are still {', '.join(left)} on {name}")
        else:
            self._evacuate(task, name, left)

    def _goes_on_without(self, host: str) -> bool:
        """Somebody is left who can be master: else nobody would let hosts take guests again."""
        others = self._view.beliefs.usable & self._view.hosts.keys() - {host}
        return any(not self._view.hosts[other].record.left for other in others)

    def _evacuate(self, task: Stored[Task], host: str, left: list[str]) -> None:
        stuck, asking = [], []
        moving = {
            task.record.target
            for task in self._view.tasks.values()
            if task.record.kind == "migrate"
            and (task.record.ended is None or self._view.wall < task.record.ended + MOVE_AGAIN)
        }
        cluster = self._view.cluster()
        for guest in left:
            if guest in moving or guest not in self._view.guests:
                continue
            if primary_of(self._view.seats(guest)) is None:
                continue
            here = [r for r, where in cluster.placed.items() if r.guest == guest and where == host]
            if not here:
                continue
            hosts = [each for each in ranked(cluster, here[0]) if each != host]
            automation = self._view.file(guest).automation or self._view.config.record.automation
            if not hosts:
                stuck.append(guest)
            elif automation in (Automation.FULL, Automation.PARTIAL):
                self._view.add_task(
                    "migrate", guest, "maintenance", host=hosts[0], role=str(here[0].role)
                )
            else:
                asking.append(guest)
        waiting = f"; no place for {', '.join(stuck)}" if stuck else ""
        if asking:
            waiting += f"; `guest migrate` has to move {', '.join(asking)}"
        self._tell(task, f"still there: {', '.join(left)}{waiting}")

    def _remove_host(self, task: Stored[Task]) -> None:
        name = task.record.target
        if name not in self._view.hosts:
            raise Refused(f"there is no host {name!r}")
        if self._view.on(name):
            raise Refused(f"{name} has guests: let it enter maintenance first")
        if not self._goes_on_without(name):
            raise Refused(f"without {name} there is no host that could be master")
        self._view.remove_host(name)
        self._view.event("host-removed", f"{name} belongs to the cluster no longer", name)
        self._done(task, "removed")

    # Where

    def _place(
        self, name: str, host: str | None, role: Role = Role.PRIMARY, without: str | None = None
    ) -> str:
        """The host that was asked for, or the best one. A guest may be moved away from those that
        it is to be together with: they move one by one, too."""
        cluster, replica = self._view.cluster(), Replica(name, role)
        if host is not None:
            if host == without:
                raise Refused(f"{name} runs on {host} already")
            if host not in self._view.hosts:
                raise Refused(f"there is no host {host!r}")
            if host not in cluster.hosts:
                if self._view.beliefs.states.get(host) in _ALIVE:
                    raise Later(f"the host {host} does not report")
                raise Refused(f"the host {host} is {self._state(host)}")
            follows = without is not None and Placement(cluster).admits(replica, host)
            if not follows and (reasons := fits(cluster, replica, host)):
                raise Refused(f"{name} cannot run on {host}: {'; '.join(reasons)}")
            return host
        hosts = [each for each in ranked(cluster, replica) if each != without]
        if not hosts:
            why = (
                f"{each}: {reasons}"
                for each, reasons in why_not(cluster, replica).items()
                if each != without
            )
            problem = f"no host can run {name} ({', '.join(why) or 'none is connected'})"
            states = self._view.beliefs.states
            silent = any(
                states.get(each) in _ALIVE for each in self._view.hosts if each not in cluster.hosts
            )
            raise (Later if silent else Refused)(problem)
        return hosts[0]

    def _state(self, host: str) -> str:
        if self._view.hosts[host].record.maintenance:
            return "in maintenance"
        return self._view.beliefs.states.get(host, "not connected")
