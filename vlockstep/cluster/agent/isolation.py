"""The isolation response of a host, carried out on its replicas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from vlockstep.cluster.guestfile import Isolation as Setting
from vlockstep.cluster.guestfile import parse
from vlockstep.cluster.ha import isolation
from vlockstep.cluster.ha.isolation import (
    Home,
    Isolation,
    IsolationPolicy,
    IsolationTiming,
    PowerOff,
    Response,
    ShutDown,
)
from vlockstep.cluster.keeper import Local
from vlockstep.cluster.model import Role
from vlockstep.cluster.records import End, Life, Order

_RESPONSES = {
    Setting.NONE: Response.NONE,
    Setting.POWER_OFF: Response.POWER_OFF,
    Setting.SHUT_DOWN: Response.SHUT_DOWN,
}
_REASON = "this host is isolated"


class Guests(Local, Protocol):
    """Replicas that are known by their orders, too."""

    def order(self, guest: str) -> Order | None:
        """By which its replica was started here last."""


class Isolated:
    """`usual` is the response of guests that have none of their own; `home` tells how a datastore
    looks from here."""

    def __init__(
        self,
        local: Guests,
        usual: Setting,
        timing: IsolationTiming,
        home: Callable[[str], Home],
    ) -> None:
        self._local = local
        self._usual = _RESPONSES[usual]
        self._timing = timing
        self._home = home
        self._isolation: Isolation | None = None

    def round(self, now: int, respond: bool) -> None:
        """`respond` is whether the host is isolated, and has been for long enough."""
        if not respond:
            if self._isolation is not None:
                self._isolation.cancel()
            self._isolation = None
            return
        running, guests = [], {}
        for name, report in self._local.look().items():
            order = self._local.order(name)
            if order is None or report.life is Life.ENDED or report.role is not Role.PRIMARY:
                continue
            file = parse(order.file)
            if file.isolation is not None:
                guests[name] = _RESPONSES[file.isolation]
            model = file.model(name, order.datastore)
            running.append(isolation.Local(model, self._home(order.datastore)))
        if self._isolation is None:
            self._isolation = Isolation(IsolationPolicy(self._usual, guests), self._timing)
            self._isolation.respond()
        for action in self._isolation.tick(now, running):
            match action:
                case PowerOff(guest):
                    self._local.end(guest, End.KILL, _REASON)
                case ShutDown(guest):
                    self._local.end(guest, End.POWER_OFF, _REASON)
