"""Tasks about the secondary of a guest: that it has one, or has none, takes over, and drills."""

from __future__ import annotations

from collections.abc import Sequence

from vlockstep.cluster.master.guests import handed_over, primary_of, tell_takeover
from vlockstep.cluster.master.taskround import (
    LEAVE_SECONDS,
    START_SECONDS,
    Refused,
    TaskRound,
)
from vlockstep.cluster.master.view import Seat, Stored, View
from vlockstep.cluster.model import Role
from vlockstep.cluster.records import End, Power, Task, TaskState

IN_STEP_MS = 1000.0
"""A secondary that is further behind does not take over."""


def out_of_step(name: str, state: str, lag_ms: float | None) -> str:
    """Why the secondary of a guest cannot take over, by its state and by how much it is behind;
    "" if it can."""
    if state != "following":
        return f"the secondary of {name} is not in step: it is {state or 'being started'}"
    if lag_ms is not None and lag_ms > IN_STEP_MS:
        return f"the secondary of {name} is not in step: it is {lag_ms:.0f} ms behind"
    return ""


class Protecting(TaskRound):
    def __init__(self, view: View, now: float, since: dict[int, float]) -> None:
        super().__init__(view, now, since)
        self.again: list[str] = []
        """Guests whose replicas somebody wants although they were given up."""

    def protect(self, task: Stored[Task]) -> None:
        """The guest's file has been set by who asks; done when it is so."""
        name = self._guest(task)
        wanted = task.record.kind == "protect"
        if self._view.file(name).ft is not wanted:
            raise Refused(f"{name} was set to something else meanwhile")
        if wanted and not self._view.config.record.ft:
            raise Refused("fault tolerance is off in this cluster")
        if task.record.state is TaskState.QUEUED:
            if self._view.guests[name].record.power is Power.OFF:
                self._done(task, "counts when it is started")
            elif self._go(task, "gets a secondary" if wanted else "loses its secondary"):
                self.again.append(name)
            return
        primary = primary_of(self._view.seats(name))
        members = primary.report.members if primary is not None and primary.report else 0
        if members > 1 if wanted else members == 1:
            self._done(task, "protected" if wanted else "runs alone")
        elif self._late(task, START_SECONDS):
            raise Refused(f"{name} is not {'protected' if wanted else 'alone'} yet: see its events")

    def test_failover(self, task: Stored[Task]) -> None:
        """Its primary is killed; done when the secondary rules and the guest has another one."""
        name = self._guest(task)
        seats = self._view.seats(name)
        primary = primary_of(seats)
        if task.record.state is TaskState.QUEUED:
            stays = self._view.file(name).ft and self._view.config.record.ft
            report = primary.report if primary is not None and stays else None
            if primary is None or report is None or report.members < 2:
                problem = f"{name} is not protected: a test of its failover would end it"
                raise self._lacks(seats, problem)
            told = {"host": primary.host, "generation": report.generation}
            if self._go(task, f"kills the primary on {primary.host}", **told):
                self._view.change_order(primary, end=End.DROP, reason="a test of the failover")
            return
        self._protected_again(task, name, primary)

    def test_restart(self, task: Stored[Task]) -> None:
        """Its secondary is killed; done when it has another one."""
        name = self._guest(task)
        seats = self._view.seats(name)
        primary = primary_of(seats)
        if task.record.state is TaskState.QUEUED:
            others = [s for s in seats if s is not primary and s.runs and s.order is not None]
            if primary is None or primary.report is None or not others:
                raise self._lacks(seats, f"{name} has no secondary")
            told = {"host": others[0].host, "generation": primary.report.generation}
            if self._go(task, f"kills the secondary on {others[0].host}", **told):
                self._view.change_order(others[0], end=End.DROP, reason="a test of its restart")
            return
        self._protected_again(task, name, primary)

    def _protected_again(self, task: Stored[Task], name: str, primary: Seat | None) -> None:
        before = task.record.result["generation"]
        report = primary.report if primary is not None else None
        if primary and report and report.generation > before + 1 and report.members > 1:
            self._done(task, f"protected again, its primary is on {primary.host}")
        elif self._late(task, START_SECONDS):
            raise Refused(f"{name} is not protected again within {START_SECONDS:g} s")

    # Switchover

    def switch_over(self, task: Stored[Task]) -> None:
        """A secondary and the primary swap roles; done when that one rules and this one follows."""
        name = self._guest(task)
        if self._view.guests[name].record.power is Power.OFF:
            raise Refused(f"{name} is powered off")
        seats = self._view.seats(name)
        primary = primary_of(seats)
        if task.record.state is TaskState.QUEUED:
            if name not in self.busy:
                self._begin_switchover(task, name, seats, primary)
            return
        self._go_on_with_switchover(task, name, seats, primary)

    def _begin_switchover(
        self, task: Stored[Task], name: str, seats: Sequence[Seat], primary: Seat | None
    ) -> None:
        report = primary.report if primary is not None else None
        if primary is None or report is None:
            raise self._lacks(seats, f"{name} has no primary that runs")
        others = [s for s in seats if s is not primary and s.trusted and s.runs]
        if report.members < 2 or not others:
            raise self._lacks(seats, f"{name} is not protected: nobody could take over")
        target = others[0]
        state = target.report.state if target.report is not None else ""
        if problem := out_of_step(name, state, report.lag_ms):
            raise Refused(problem)
        if self._view.hosts[target.host].record.maintenance:
            raise Refused(f"the host {target.host}, where its secondary is, is in maintenance")
        if primary.order is None:
            return  # it gets one
        told = {"from": primary.host, "to": target.host, "generation": report.generation}
        text = f"the primary on {primary.host} hands over to the secondary on {target.host}"
        if self._go(task, text, **told):
            self._order_switchover(task, primary)

    def _order_switchover(self, task: Stored[Task], source: Seat) -> None:
        generation, number = task.record.result["generation"], task.record.number
        self._view.change_order(source, swap=generation, mover=number, move=None, cancel=False)

    def _go_on_with_switchover(
        self, task: Stored[Task], name: str, seats: Sequence[Seat], primary: Seat | None
    ) -> None:
        result = task.record.result
        source = next((seat for seat in seats if seat.host == result["from"]), None)
        gone = source is None or source.over or source.lost
        report = source.report if source is not None else None
        moved = None
        if report is not None and report.mover == task.record.number:
            moved = report.moved
        late = self._late(task, START_SECONDS)
        rules = primary is not None and primary.generation > result["generation"]
        if rules and primary is not None and primary.host == result["to"]:
            hands_over = not gone and report is not None and report.role is Role.PRIMARY
            if late or not hands_over:
                self._swapped(task, primary, gone and moved != "")
            return
        problem = moved or ""
        if not problem and gone:
            lost_since = self._since.setdefault(-task.record.number, self._now)
            if self._now > lost_since + LEAVE_SECONDS:
                problem = f"the primary on {result['from']} is lost"
        elif not problem and rules and moved is None:
            problem = "its members have changed meanwhile"
        elif not problem and late:
            problem = f"it did not come about within {START_SECONDS:g} s"
        if source is not None and source.order is not None and not gone:
            if problem:
                self._view.change_order(source, swap=0)
            else:
                self._order_switchover(task, source)
        if problem:
            raise Refused(problem)

    def _swapped(self, task: Stored[Task], primary: Seat, lost: bool) -> None:
        """`primary` rules now, since the one before was `lost` or has handed over; or both, and
        could not say so any more."""
        name, before, host = task.record.target, task.record.result["from"], primary.host
        self._view.set_guest(name, host=host)
        if lost and not handed_over(primary):
            tell_takeover(self._view, name, primary, before)
            raise Refused(f"the primary on {before} was lost before it had handed over")
        text = f"its replicas have swapped roles: the primary is on {host}"
        if lost:
            text = f"the primary on {before} handed over to {host}, and was lost then"
        self._done(task, text)
        self._view.event("guest-switched-over", f"{name}: {text}", host, name)
