"""How long the owner of a generation may emit by the lease of its record; see `arbiter.rule`."""

from __future__ import annotations

from vlockstep.arbiter.rule import Record
from vlockstep.protocol.actions import NEVER, Action, Notice, Renew


class Tenure:
    """That of the owner of `record`, for which it asked first at the time `asked`. What comes of a
    claim that is asked again may be as old as that."""

    def __init__(self, record: Record, asked: int) -> None:
        self.record = record
        self.until = asked + record.lease if record.lease else NEVER
        """It may emit before this time."""
        self._token = self._tried = 0
        """Where the token stood last, and where it was to stand."""
        self._asked = asked
        """When it was asked to stand there."""
        self._due = self._after(asked)
        """When to ask next; not while it is asked."""
        self._silent = False

    def _after(self, asked: int) -> int:
        return asked + self.record.lease // 4 if self.record.lease else NEVER

    def deadline(self) -> int:
        """When to look again."""
        return self._due if self._silent else min(self._due, self.until)

    def look(self, now: int) -> list[Action]:
        """Renew it if that is due."""
        actions: list[Action] = []
        if now >= self.until and not self._silent:
            self._silent = True
            actions.append(
                Notice(
                    f"the lease of generation {self.record.generation} could not be renewed in "
                    "time; nothing is emitted until it is"
                )
            )
        if now >= self._due:
            self._asked, self._due = now, NEVER
            self._tried += 1
            actions.append(Renew(self.record, self._token, self._tried))
        return actions

    def renewed(self, now: int) -> list[Action]:
        """As it was asked last."""
        self._token = self._tried
        self._due = self._after(self._asked)
        self.until = self._asked + self.record.lease
        if not self._silent or now >= self.until:
            return []
        self._silent = False
        return [Notice(f"the lease of generation {self.record.generation} is renewed")]

    def unanswered(self, again: int) -> None:
        """Whether it was renewed is not known; ask at the time `again`."""
        self._due = again

    def seal(self) -> None:
        """It can never be renewed any more."""
        self.until, self._silent = 0, True


NO_TENURE = Tenure(Record(0, "", ()), 0)
"""Of who owns no generation."""
