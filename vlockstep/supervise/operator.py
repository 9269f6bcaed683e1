"""What an operator asks of a running pair."""

from __future__ import annotations

import select
import time
from collections.abc import Callable

from vlockstep.errors import HostError
from vlockstep.protocol import messages
from vlockstep.protocol.messages import Switchover, SwitchoverDone
from vlockstep.wire.channel import Arrived, Connected, Disconnected, Rejected, connect
from vlockstep.wire.codec import MessageError
from vlockstep.wire.keys import Keys

_TICK = 0.25


def request_switchover(
    endpoint: str,
    keys: Keys | None,
    wait: float,
    tell: Callable[[str], None] = lambda text: None,
) -> int:
    """Ask the pair at `endpoint` to swap roles; the generation that rules then. `tell` is told
    from time to time what is waited for.

    Raises `HostError` if it cannot, or has not within `wait` seconds.
    """
    channel = connect(endpoint, keys)
    poller = select.poll()
    for descriptor in channel.descriptors:
        poller.register(descriptor, select.POLLIN)
    deadline = time.monotonic() + wait
    asked = False
    try:
        while (left := deadline - time.monotonic()) > 0:
            if not channel.pending():
                poller.poll(int(min(left, _TICK) * 1000) + 1)
            what = "asked to swap roles: waiting for the answer of" if asked else "connecting to"
            if left >= 1:
                tell(f"{what} {endpoint}, {left:.0f} s at most")
            for event in channel.events():
                match event:
                    case Connected():
                        asked = channel.send(messages.encode(Switchover()), b"")
                    case Disconnected() if asked:
                        raise HostError(
                            f"the connection to {endpoint} was lost before the answer: "
                            "see who is primary before you ask again"
                        )
                    case Rejected(reason):
                        raise HostError(f"{endpoint}: {reason}")
                    case Arrived(_, data):
                        generation = _result(data)
                        if generation is not None:
                            return generation
    finally:
        channel.close(at_once=True)  # what was not said yet is not to be said later
    raise HostError(f"no answer from {endpoint} within {wait:g} s; does a pair run there?")


def _result(data: bytes) -> int | None:
    try:
        message = messages.decode(data)
    except MessageError as error:
        raise HostError(f"the pair answered with {error}") from error
    if not isinstance(message, SwitchoverDone):
        return None
    if not message.generation:
        raise HostError(f"the pair did not swap roles: {message.reason}")
    return message.generation
