"""Guests that fail, or hang, are started anew where they are, within limits."""

from __future__ import annotations

from collections.abc import Mapping

from vlockstep.cluster.guestfile import Monitoring as Preset
from vlockstep.cluster.ha.monitoring import (
    HIGH,
    LOW,
    MEDIUM,
    GuestMonitor,
    Monitoring,
    Reset,
    Sample,
)
from vlockstep.cluster.ha.restarts import Cause
from vlockstep.cluster.master.guests import Guests, primary_of
from vlockstep.cluster.master.view import Seat, View
from vlockstep.cluster.model import Replica
from vlockstep.cluster.placement import fits
from vlockstep.cluster.records import Begin, End, Power

_PRESETS: Mapping[Preset, Monitoring] = {
    Preset.OFF: Monitoring(),
    Preset.LOW: LOW,
    Preset.MEDIUM: MEDIUM,
    Preset.HIGH: HIGH,
}


class Resets:
    """Of one master, `speed` times as fast as is usual."""

    def __init__(self, speed: int) -> None:
        self._speed = speed
        self._monitors: dict[str, tuple[Preset, GuestMonitor]] = {}
        self._told: dict[str, int] = {}
        """By guest, the attempt whose failure its monitor was told."""
        self._killed: dict[str, tuple[str, str]] = {}
        """Guests that hung, their hosts, and what they are killed for: all replicas, for what
        follows a guest that hangs does so, too."""
        self._answered: dict[str, int] = {}
        """By guest, the attempt whose failure was answered by a reset. If nothing came of that, the
        guest is missing as others are."""

    def round(self, now: int, view: View, guests: Guests) -> None:
        for name in [*self._monitors]:
            if name not in view.guests or view.guests[name].record.power is Power.OFF:
                del self._monitors[name]
                self._killed.pop(name, None)
        for name in view.guests:
            if name in self._killed:
                self._kill(now, view, guests, name)
                continue
            if name in guests.failed:
                self._failed(now, view, guests, name, guests.failed[name])
                continue
            preset = view.file(name).monitoring
            primary = primary_of(view.seats(name))
            if preset is not Preset.OFF and primary is not None and primary.report is not None:
                report = primary.report
                waits = report.idle or report.holding
                sample = Sample(report.progress, waits, report.traffic)
                monitor = self._monitor(now, view, name)
                for action in monitor.sampled(now, sample):
                    self._act(now, view, guests, primary, action)

    def _failed(self, now: int, view: View, guests: Guests, name: str, seat: Seat) -> None:
        assert seat.report is not None
        if self._answered.get(name) == seat.attempt:
            guests.missing[Replica(name)] = Cause.GUEST_FAILED
            return
        monitor = self._monitor(now, view, name)
        if self._told.get(name) == seat.attempt:
            actions = monitor.tick(now)
        else:
            self._told[name] = seat.attempt
            actions = monitor.failed(now, seat.report.problem)
        for action in actions:
            self._act(now, view, guests, seat, action)

    def _monitor(self, now: int, view: View, name: str) -> GuestMonitor:
        preset = view.file(name).monitoring
        if name not in self._monitors or self._monitors[name][0] is not preset:
            settings = _PRESETS[preset].faster(self._speed)
            self._monitors[name] = preset, GuestMonitor(settings, name, now)
        return self._monitors[name][1]

    def _act(self, now: int, view: View, guests: Guests, seat: Seat, action: object) -> None:
        name = seat.order.record.guest if seat.order is not None else ""
        if not isinstance(action, Reset):
            view.event("guest-left-alone", str(action), seat.host, name)
            return
        if seat.over:
            self._answered[name] = seat.attempt
        else:
            self._killed[name] = seat.host, action.reason
        text = f"{name} {action.reason}, and is started anew"
        view.event("guest-reset", text, seat.host, name)
        if seat.over:
            self._start(now, view, guests, name, seat.host)
        else:
            self._kill(now, view, guests, name)

    def _kill(self, now: int, view: View, guests: Guests, name: str) -> None:
        host, reason = self._killed[name]
        if Replica(name) in guests.missing:
            if self._start(now, view, guests, name, host):
                del self._killed[name]
            return
        for seat in view.seats(name):
            if seat.order is not None and not seat.over:
                view.change_order(seat, end=End.KILL, reason=reason)

    def _start(self, now: int, view: View, guests: Guests, name: str, host: str) -> bool:
        """There again if it may still run there, or wherever it is restarted; at boot, wherever it
        was. False if another one was faster."""
        self._monitors[name][1].started(now)
        guests.missing.pop(Replica(name), None)
        if not fits(view.cluster(), Replica(name), host, failover=True):
            return view.order(host, name, Begin.BOOT) is not None
        if not view.set_guest(name, begun=False):
            return False
        guests.missing[Replica(name)] = Cause.GUEST_FAILED
        return True
