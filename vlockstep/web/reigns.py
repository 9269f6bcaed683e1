"""Who ruled a guest when, and why that changed. Pure.

Each generation's reason is the cause for which it was claimed: it stands in the arbiter's record,
and who rules tells it. So it lasts, and what was before somebody looked is known, too. Nothing is
guessed from what else happened at the time.
"""

from __future__ import annotations

from collections.abc import Iterable

from vlockstep.arbiter import Reign, cause_text
from vlockstep.arbiter.causes import FAILOVERS
from vlockstep.web import shapes

GENERATIONS = 200
"""So many of the newest are told."""


class Reigns:
    """Of one guest, as far as somebody saw who rules it."""

    def __init__(self) -> None:
        self._seen: dict[int, shapes.Generation] = {}
        self._silences: dict[int, float] = {}
        """By generation, for how many milliseconds the primary before had been silent."""
        self._owners: dict[int, str] = {}
        """By process: what it is called."""

    def runs(self, pid: int, name: str) -> None:
        """A replica, so that one that rules is known by name."""
        if pid:
            self._owners[pid] = name
            while len(self._owners) > GENERATIONS:
                del self._owners[next(iter(self._owners))]

    def ruled(
        self,
        generation: int,
        since: float,
        ruler: str,
        members: int,
        cause: str,
        silent_ms: float | None = None,
    ) -> None:
        """What is known first of its time is true; of its members, what comes last."""
        known = self._seen.get(generation)
        cause = cause or (known["cause"] if known else "")
        if silent_ms is not None:
            self._silences[generation] = silent_ms
        self._seen[generation] = {
            "generation": generation,
            "since": since if known is None else known["since"],
            "ruler": ruler,
            "members": members,
            "cause": cause,
            "reason": self._reason(generation, cause),
        }
        while len(self._seen) > GENERATIONS:
            oldest = min(self._seen)
            del self._seen[oldest]
            self._silences.pop(oldest, None)

    def copy(self) -> Reigns:
        """As they are now, to be asked without whatever guards these."""
        copied = Reigns()
        copied._seen, copied._owners = dict(self._seen), dict(self._owners)
        copied._silences = dict(self._silences)
        return copied

    def all(self, kept: Iterable[Reign]) -> list[shapes.Generation]:
        """The newest, by generation, with those that the arbiter has `kept`."""
        found = dict(self._seen)
        for reign in kept:
            record = reign.record
            number, told = record.generation, found.get(record.generation)
            cause = record.cause or (told["cause"] if told else "")
            owner = self._owners.get(record.pid, f"{record.name} on {record.host}")
            found[number] = {
                "generation": number,
                "since": reign.since or (told["since"] if told else 0.0),
                "ruler": told["ruler"] if told else owner,
                "members": told["members"] if told else len(record.members),
                "cause": cause,
                "reason": self._reason(number, cause),
            }
        return [found[number] for number in sorted(found)][-GENERATIONS:]

    def _reason(self, generation: int, cause: str) -> str:
        text, silent = cause_text(cause), self._silences.get(generation)
        if cause in FAILOVERS and silent is not None:  # a replica tells it as long as it rules
            text += f"; taken over {silent:.0f} ms after its last word"
        return text
