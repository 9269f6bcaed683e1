"""What can go wrong, as a small hierarchy. Every message names the thing and what to do."""

from __future__ import annotations

from typing import Self

Key = tuple[str, ...]
"""Of what a replica is specified by: `("memory",)`, `("disk", "data", "path")`."""


class VlockstepError(Exception):
    """Something failed for a reason the user can act on (exit status 1).

    `key` is what of the replica's specification mends it, if anything does. Who has read that from
    a file or a command line says where it stands there; the message itself does not.
    """

    exit_status = 1
    key: Key = ()

    def __init__(self, *args: object, key: Key = ()) -> None:
        super().__init__(*args)
        self.key = key

    def about(self, part: str, *key: str) -> Self:
        """The same of a `part`, to whose `key` this error's own belongs."""
        return type(self)(f"{part}: {self}", key=(*key, *self.key))


class VlockstepWarning(UserWarning):
    """Something is less safe than it looks, and goes on all the same. Programs print it."""


class UsageError(VlockstepError):
    """The request itself is wrong: an option, an address, a device name (exit status 2)."""

    exit_status = 2


class Left(VlockstepError):
    """A replica left, as it was asked to; the guest goes on elsewhere, or was to end."""

    exit_status = 0


class ImageError(VlockstepError):
    """The image is not one this tender can run."""


class HostError(VlockstepError):
    """The host refused something a replica needs: a file, memory, a socket."""


class NoRoom(HostError):
    """Storage is full: who can wait tries again."""


class LogError(VlockstepError):
    """A log is damaged, of another version, or of another image."""


class StateError(VlockstepError):
    """A machine's state cannot be taken here, or is not one that can be restored here."""


class SnapshotError(VlockstepError):
    """A snapshot is damaged, of another version, or cannot be started here."""
