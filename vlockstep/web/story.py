"""The view of a demonstration: what its teller tells, and nobody acts on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from vlockstep.errors import UsageError
from vlockstep.web import shapes
from vlockstep.web.model import Picture

STORY_SECONDS = 0.2
"""From one look to the next: a takeover is over soon."""


class StorySource:
    """A `Source`; `tell` is called from any thread with the story as it is now."""

    kind: shapes.Kind = "story"
    name = "a demonstration"

    def __init__(self) -> None:
        self._story: shapes.Story | None = None

    def tell(self, story: shapes.Story) -> None:
        self._story = story

    def look(self) -> Picture:
        return Picture(story=self._story)

    def details(self, guest: str) -> NoReturn:
        _refuse()

    def console(self, guest: str, after: int | None) -> NoReturn:
        _refuse()

    def compatibility(self, guest: str, host: str, role: str) -> NoReturn:
        _refuse()

    def act_on_guest(self, guest: str, action: str, given: Mapping[str, Any]) -> NoReturn:
        _refuse()

    def act_on_host(self, host: str, maintenance: bool) -> NoReturn:
        _refuse()

    def apply(self, keys: list[str]) -> NoReturn:
        _refuse()

    def cancel(self, task: int) -> NoReturn:
        _refuse()

    def close(self) -> None: ...


def _refuse() -> NoReturn:
    raise UsageError("this is a demonstration: it is only looked at")
