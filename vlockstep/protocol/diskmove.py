"""The primary's side of a disk that is to move to another file, which all replicas share.

Every output of before is in both files, and every one that comes is made to both, until it is
decided: so whoever goes live may go on with either, if all go on with the same. The arbiter's
record says which: the owner's claim of the next generation names the new file, when every other
member has opened it. Until that record stands the disk is the old file, whoever rules; from then on
it is the new one, and nobody can claim without having read that.

| dies | the record names | who goes live uses |
| --- | --- | --- |
| the primary, while it copies | the old file | the old file: nobody knows of another |
| the primary, when some have opened the new one, or all | the old file | the old file |
| the primary, having asked the arbiter, which did not hear it | the old file | the old file |
| the primary, and the record stands | the new file | the new file, which it has open |
| the primary, and some know of the record | the new file | the new file: its claim tells |
| a secondary, before it has opened the new one | the old file | it is left out, the others go on |
| a secondary, later | either | it is left out; the move is decided by the primary |
| all | whichever | `vlockstep arbiter show` tells |
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from vlockstep.protocol.actions import NEVER
from vlockstep.protocol.messages import MoveDisk, Opened
from vlockstep.protocol.timing import SECOND

OPEN_LIMIT = 10 * SECOND
"""So long a secondary has to open the new file."""


class DiskMove:
    """Of `disk` to the file `path`, which its primary has locked with `token`; asked at `now`."""

    def __init__(self, disk: str, path: str, token: int, now: int) -> None:
        self.disk = disk
        self.path = path
        self.until = NEVER
        """When the others are to have opened it."""
        self.agreed = False
        """They have, and the primary was told."""
        self.wanted = False
        """It is to be decided."""
        self.claimed = False
        """The arbiter is asked, and nothing calls it off any more."""
        self.refusal = ""
        """Why one of them cannot."""
        self._token = token
        self._sent = now
        self._opened: set[str] = set()
        """Who has."""

    def lacking(self, members: Collection[str]) -> set[str]:
        """Those that have not opened it, as far as is known."""
        return set(members) - self._opened

    def request(self, disks: Mapping[str, str]) -> MoveDisk:
        """What is said to who lacks it; those that have moved before are in these files."""
        return MoveDisk(self._sent, self.disk, self.path, self._token, dict(disks))

    def answered(self, member: str, answer: Opened) -> None:
        if answer.sent != self._sent:
            return  # to an earlier one
        if answer.problem:
            self.refusal = answer.problem
        else:
            self._opened.add(member)
