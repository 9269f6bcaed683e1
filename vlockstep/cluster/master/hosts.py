"""What people are told of hosts: who is master, and which of the others is lost, or back."""

from __future__ import annotations

from collections.abc import Mapping

from vlockstep.cluster.ha.states import Availability
from vlockstep.cluster.master.view import View

_LOST: Mapping[Availability, str] = {
    Availability.DOWN: "has failed",
    Availability.ISOLATED: "is cut off from all others",
    Availability.PARTITIONED: "lives, and is not reached by the master",
    Availability.UNREACHABLE: "answers, and its agent does not",
}


class HostEvents:
    """Of one master, the host `me`."""

    def __init__(self, me: str) -> None:
        self._me = me
        self._began = False
        self._lost: dict[str, Availability] = {}

    def round(self, view: View, states: Mapping[str, Availability]) -> None:
        if not self._began:
            self._began = True
            view.event("master-elected", f"{self._me} is master", self._me)
        for host, state in states.items():
            if state in _LOST:
                if self._lost.get(host) is not state:
                    self._lost[host] = state
                    view.event("host-lost", f"{host} {_LOST[state]}", host)
            elif state is Availability.CONNECTED and self._lost.pop(host, None) is not None:
                view.event("host-back", f"{host} is back", host)
        for host in self._lost.keys() - states.keys():
            del self._lost[host]
