"""Each guest's replicas, as they shall be: one that rules, a secondary if it is to be protected,
and none when it is powered off."""

from __future__ import annotations

from vlockstep.arbiter import ReignCause, cause_text
from vlockstep.cluster.guestfile import Restart
from vlockstep.cluster.ha.restarts import Cause
from vlockstep.cluster.master.view import Seat, View
from vlockstep.cluster.model import Replica, Role
from vlockstep.cluster.records import TEST, Begin, End, Power


def primary_of(seats: list[Seat]) -> Seat | None:
    """The replica that rules, as far as its host tells: of two the one of the later generation,
    since the other has just not come to notice. None if it cannot be trusted that it still does."""
    ruling = [s for s in seats if s.begun and not s.lost and s.report.role is Role.PRIMARY]  # type: ignore[union-attr]
    last = max(ruling, key=lambda seat: seat.generation, default=None)
    return last if last is not None and last.trusted else None


def _spares(primary: Seat) -> bool:
    """It was to end as one of several, and the guest is nowhere else now."""
    assert primary.order is not None and primary.report is not None
    end = primary.order.record.end
    return end is End.LEAVE or (end is End.DROP and primary.report.members == 1)


def _took_over(primary: Seat, before: str) -> bool:
    """It was a secondary, from its beginning or since roles were swapped, and the guest was on
    another host."""
    if primary.order is None or before == primary.host:
        return False
    order = primary.order.record
    return order.begin is Begin.JOIN or order.role is Role.SECONDARY or order.swap > 0


def handed_over(primary: Seat) -> bool:
    """To this one, which was a secondary."""
    return primary.report is not None and primary.report.took_over == ReignCause.SWITCHOVER


def tell_takeover(view: View, name: str, primary: Seat, before: str) -> None:
    """`primary` was a secondary of the guest, whose primary was on the host `before`."""
    assert primary.report is not None
    host, cause = primary.host, primary.report.took_over
    if handed_over(primary):
        text = f"{name} was handed over to {host}, where its secondary was"
        view.event("guest-switched-over", text, host, name)
        return
    why = cause_text(cause)
    if _drilled(view, name, before):
        cause, why = TEST, "its failover is tested"
    text = f"{name} goes on on {host}, where its secondary was"
    silent_ms = primary.report.silent_ms
    told = f"{text}: {why}" if why else text
    view.event("guest-failed-over", told, host, name, cause=cause, silent_ms=silent_ms)


def _drilled(view: View, name: str, host: str) -> bool:
    """The replica there was to be killed."""
    order = view.orders.get((host, name))
    return order is not None and order.record.end is End.DROP


def _cause(seat: Seat) -> Cause:
    """Why there is to be another replica than the one that was there."""
    assert seat.order is not None
    if seat.order.record.end is not None:
        return Cause.NEW
    return Cause.HOST_FAILED if seat.lost else Cause.REPLICA_FAILED


def _of_last_start(ended: list[Seat]) -> list[Seat]:
    """What others say is of an earlier life of the guest."""
    starts = [seat.attempt for seat in ended if seat.order.record.begin is Begin.BOOT]  # type: ignore[union-attr]
    return [seat for seat in ended if seat.attempt >= max(starts, default=0)]


class Guests:
    """Looks after all guests in a round."""

    def __init__(self, view: View, busy: frozenset[str]) -> None:
        """`busy` are guests whose replicas a task moves, or lets swap roles."""
        self._view = view
        self._busy = busy
        self.missing: dict[Replica, Cause] = {}
        """What shall run and does not."""
        self.failed: dict[str, Seat] = {}
        """Guests that have ended by an error of their own, where they ran last."""
        self.endpoints: dict[str, str] = {}
        """Of guests that run, where others join them."""
        self.holding: dict[str, bool] = {}
        """Of guests that run, whether their outputs wait for a secondary."""

    def round(self) -> None:
        for name, stored in self._view.guests.items():
            if not self._view.ours(name):
                continue
            seats = self._view.seats(name)
            if stored.record.power is Power.OFF:
                self._end_all(name, seats)
            else:
                self._keep(name, seats)

    def _end_all(self, name: str, seats: list[Seat]) -> None:
        """Who rules ends the others."""
        primary = primary_of(seats)
        for seat in seats:
            if seat.trusted and not seat.over:
                if seat.order is None:
                    self._view.order(seat.host, name, Begin.BOOT, end=End.KILL)
                elif primary in (None, seat) and seat.order.record.end is not End.KILL:
                    self._view.change_order(seat, end=End.POWER_OFF, reason="powered off")
            elif seat.order is not None and (seat.trusted or seat.lost):
                self._view.withdraw(seat)

    def _keep(self, name: str, seats: list[Seat]) -> None:
        for seat in seats:
            if seat.order is not None:
                self._view.change_order(seat, hold=self._view.holds(name))
        primary = primary_of(seats)
        if primary is None:
            self._without_primary(name, seats)
            return
        assert primary.report is not None
        record = self._view.guests[name].record
        begun = record.begun or self._view.file(name).restart is Restart.RESUME
        before = record.host
        if (before, record.begun) != (primary.host, begun):
            if not self._view.set_guest(name, host=primary.host, begun=begun):
                return
            if name not in self._busy and before is not None and _took_over(primary, before):
                tell_takeover(self._view, name, primary, before)
        elif primary.order is None:
            self._view.adopt(primary, name, Begin.BOOT)
        elif _spares(primary):
            self._view.change_order(primary, end=None, reason="")  # it rules meanwhile
        self.holding[name] = primary.report.holding
        if primary.report.endpoint:
            self.endpoints[name] = primary.report.endpoint
        dies = primary.order is not None and primary.order.record.end in (End.DROP, End.KILL)
        if name not in self._busy and not dies:
            self._keep_secondary(name, [seat for seat in seats if seat is not primary])

    def _keep_secondary(self, name: str, others: list[Seat]) -> None:
        protected = self._view.protects(name)
        cause, secondaries = Cause.NEW, 0
        for seat in sorted(others, key=lambda seat: (seat.begun, seat.attempt), reverse=True):
            if seat.order is None:
                if seat.trusted:
                    self._view.adopt(seat, name, Begin.JOIN)
                continue
            if seat.over or seat.lost:
                cause = _cause(seat) if cause is Cause.NEW else cause
                self._view.withdraw(seat)
            elif seat.report is not None and seat.report.role is Role.PRIMARY:
                self._view.change_order(seat, end=End.KILL, reason="another replica rules")
            elif not seat.trusted or (protected and not secondaries):
                secondaries += 1
            else:
                reason = "there is another one" if protected else "it is protected no longer"
                self._view.change_order(seat, end=End.LEAVE, reason=reason)
        if protected and not secondaries and name in self.endpoints:
            self.missing[Replica(name, Role.SECONDARY)] = cause

    def _without_primary(self, name: str, seats: list[Seat]) -> None:
        ended: list[Seat] = []
        cause = Cause.NEW
        for seat in seats:
            if seat.order is None:
                if seat.trusted and seat.begun:
                    return  # it takes over
                continue
            if seat.lost:
                cause = Cause.HOST_FAILED
            elif not seat.trusted or not seat.over:
                return  # nobody knows yet what became of it; or it starts, or takes over
            else:
                ended.append(seat)
        for seat in _of_last_start(ended):
            assert seat.report is not None
            if not seat.report.problem:
                self._ended(name, seat, seats)
                return
            if seat.report.guest_error:
                self.failed[name] = seat
                return
        if ended and cause is Cause.NEW:
            cause = Cause.GUEST_FAILED
        self.missing[Replica(name)] = cause

    def _ended(self, name: str, last: Seat, seats: list[Seat]) -> None:
        """The guest itself has come to its end: it is not to run any more."""
        assert last.report is not None
        status = last.report.status
        ended = f"it has ended with status {status}"
        if not self._view.set_guest(name, power=Power.OFF, ended=ended):
            return
        text = f"{name} has ended with status {status}, and is powered off"
        self._view.event("guest-ended", text, last.host, name)
        for seat in seats:
            if seat.order is not None:
                self._view.withdraw(seat)
