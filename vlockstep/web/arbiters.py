"""What the arbiters of guests have kept."""

from __future__ import annotations

from pathlib import Path

from vlockstep.arbiter import DirectoryArbiter, Reign
from vlockstep.errors import VlockstepError
from vlockstep.web.reigns import GENERATIONS


def reigns_of(arbiter: Path | None) -> list[Reign]:
    """The newest that it has; none if it cannot be read."""
    if arbiter is None:
        return []
    try:
        return DirectoryArbiter(arbiter, "view").reigns(GENERATIONS)
    except VlockstepError:
        return []
