"""What the view is of: a `Source` makes pictures of it, and carries out what a person asks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Protocol

from vlockstep.cluster.model import Role
from vlockstep.errors import UsageError
from vlockstep.web import shapes
from vlockstep.web.model import Picture


class Absent(UsageError):
    """There is no such guest, or host."""


def role_of(told: object) -> Role:
    """Raises `UsageError` for what is none."""
    if told not in [*Role]:
        raise UsageError('"role" is primary or secondary')
    return Role(str(told))


def refuse_others(given: Iterable[str], known: Collection[str], whose: str) -> None:
    """Raises `UsageError` for what is given that is not `known` where other sources know it."""
    others = ", ".join(name for name in given if name not in known)
    if others:
        raise UsageError(f"{others} cannot be given {whose}")


class Source(Protocol):
    """Each method may be called from any thread, and takes some seconds at most. Raises `Absent`,
    `UsageError` for what cannot be asked, `HostError` for what is refused."""

    kind: shapes.Kind
    name: str
    """For people."""

    def look(self) -> Picture:
        """As it is now. One thread alone calls this, again and again."""

    def details(self, guest: str) -> shapes.GuestDetails: ...

    def console(self, guest: str, after: int | None) -> shapes.Console: ...

    def compatibility(self, guest: str, host: str, role: str) -> shapes.Compatibility: ...

    def act_on_guest(self, guest: str, action: str, given: Mapping[str, Any]) -> shapes.Done: ...

    def act_on_host(self, host: str, maintenance: bool) -> shapes.Done: ...

    def apply(self, keys: list[str]) -> shapes.Done: ...

    def cancel(self, task: int) -> shapes.Done: ...

    def close(self) -> None: ...
