"""A client of the guest `tally`: sends numbered requests, and keeps what it was told."""

from __future__ import annotations

from vlockstep.net.portmessages import parse_mac
from vlockstep.protocol.timing import MILLISECOND, SECOND
from vlockstep.sim.scripted import HEADER, REPLY
from vlockstep.sim.simulation import GUEST_MAC, Simulation

_ADDRESSES = parse_mac(GUEST_MAC) + parse_mac("02:00:00:00:00:02") + b"\x88\xb5"
_PATIENCE = 30 * MILLISECOND
_MOST_PATIENCE = 600 * SECOND
_LEAST_FRAME = 60


class Client:
    """Sends request n + 1 once it has the reply to n, and each one again until it has; at last the
    one after `requests`, with which the guest ends."""

    def __init__(self, simulation: Simulation, requests: int) -> None:
        self.replies: list[bytes] = []
        self.complaints: list[str] = []
        self._simulation = simulation
        self._requests = requests
        self._chain = 0
        simulation.on_frame = self._received
        simulation.after(MILLISECOND, self._ask)

    def _ask(self, patience: int = _PATIENCE) -> None:
        """Send the request without a reply, now and again after twice as long each time, up to a
        limit."""
        asked = len(self.replies)

        def again() -> None:
            if len(self.replies) == asked and not self._simulation.over:
                self._ask(min(2 * patience, _MOST_PATIENCE))

        frame = _ADDRESSES + (asked + 1).to_bytes(8, "little")
        self._simulation.broadcast(frame.ljust(_LEAST_FRAME, b"\0"))
        self._simulation.after(patience, again)

    def _received(self, frame: bytes) -> None:
        if frame[12:HEADER] != _ADDRESSES[12:]:
            return
        number, before, after = REPLY.unpack_from(frame, HEADER)
        asked = len(self.replies) + 1
        if number < asked and self.replies[number - 1] != frame:
            self.complaints.append(f"reply {number} came again, and was another")
        elif number > asked:
            self.complaints.append(f"reply {number} came to request {asked}")
        elif number == asked and before != self._chain:
            self.complaints.append(f"reply {number} follows a reply that never came")
        elif number == asked:
            self.replies.append(frame)
            self._chain = after
            self._simulation.after(MILLISECOND, self._ask)
