"""What a person gives for a guest that is to be protected without a cluster. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from vlockstep.errors import UsageError
from vlockstep.supervise.spec import DEFAULT_ENDPOINT, TimingSpec

PROTECTING = ("arbiter", "listen", "heartbeat", "misses")
"""What may be given."""
_IPC = "ipc://"


def asked_to_protect(given: Mapping[str, Any]) -> dict[str, Any]:
    """What its process is asked. Raises `UsageError`, which says what to give."""
    arbiter, listen = given.get("arbiter"), given.get("listen") or DEFAULT_ENDPOINT
    if not isinstance(arbiter, str) or not _is_absolute(arbiter):
        raise UsageError(
            'say where its arbiter is to be: "arbiter" is the path, from / on, of a new directory '
            "that all its replicas will share"
        )
    if not isinstance(listen, str) or "\0" in listen:
        raise UsageError('"listen" is the endpoint where replicas join, such as tcp://HOST:PORT')
    if listen.startswith(_IPC) and not _is_absolute(listen.removeprefix(_IPC)):
        raise UsageError(f"give the path in {listen} from / on: its process runs elsewhere")
    timing = {name: given[name] for name in ("heartbeat", "misses") if given.get(name) is not None}
    for name, value in timing.items():
        if type(value) is not int:
            raise UsageError(f'"{name}" is a whole number')
    return {"arbiter": arbiter, "listen": listen, "timing": asdict(TimingSpec(**timing))}


def _is_absolute(path: str) -> bool:
    return path.startswith("/") and "\0" not in path
