"""What people are told of a guest's protection and of its network, when it changes."""

from __future__ import annotations

from collections.abc import Callable

from vlockstep.ft import events
from vlockstep.ft.roles import Role
from vlockstep.protocol.primary import Primary
from vlockstep.protocol.states import State

Observe = Callable[[events.Event], None]


class ProtectionWatch:
    def __init__(self, observe: Observe) -> None:
        self._observe = observe
        self._seen = State.WAITING
        self._parted = self._unprotected = False
        self._began = False
        """Not only to wait for others, and to ask the arbiter."""
        self._holding = False

    def look(self, role: Role) -> None:
        """After each event of the role's."""
        before, self._seen = self._seen, role.state
        if self._seen is State.ALONE and before is not State.ALONE:
            if before is State.CLAIMING:
                self._observe(events.Alone(role.generation))
            if self._began:
                self._observe(events.Unprotected())
            self._unprotected = True
        self._began = self._began or self._seen not in (State.WAITING, State.CLAIMING)
        parted, self._parted = self._parted, role.parted
        back = (parted and not self._parted) or self._unprotected
        if back and self._seen in (State.PROTECTED, State.FOLLOWING):
            self._observe(events.Protected())
            self._unprotected = False
        holding = isinstance(role, Primary) and role.holding
        if holding != self._holding:
            self._holding = holding
            self._observe(events.Holding() if holding else events.HoldingOver())


class NetworkWatch:
    def __init__(self, observe: Observe) -> None:
        self._observe = observe
        self._connected = self._lost = False

    def look(self, isolated: bool) -> None:
        """From time to time: whether there are NICs, and none of them has a network."""
        if isolated and self._connected:
            self._lost = True
            self._observe(events.NetworkLost())
        elif self._lost and not isolated:
            self._lost = False
            self._observe(events.NetworkBack())
        self._connected = not isolated
