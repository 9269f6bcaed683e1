"""How people name a place in a recording."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from vlockstep.debug.mark import Mark
from vlockstep.debug.recording import CLOCKS
from vlockstep.errors import UsageError
from vlockstep.machine.position import Position, shown
from vlockstep.replay.script import parse_goal

if TYPE_CHECKING:
    from vlockstep.debug.timeline import Timeline

_SECONDS = re.compile(r"time:([0-9]{1,10}(?:\.[0-9]{1,9})?)")
_LINE = re.compile(r"console:([0-9]{1,9})")
_BILLION = 1_000_000_000

Move = Callable[["Timeline"], object]
"""Raises `UsageError` if there is no such place."""


def parse_place(text: str) -> Move:
    """`exits:N`, `exits:N+BLOCKS`, a mark, `entry:N`, `time:S` (where the guest first read that its
    clock is S seconds on; `time:0` is the beginning), `console:N` (where line N is printed, from 1
    on), `begin`, `end`."""
    if text == "begin":
        return lambda timeline: timeline.to_begin()
    if text == "end":
        return lambda timeline: timeline.to_end()
    if found := _SECONDS.fullmatch(text):
        seconds, _, fraction = found[1].partition(".")
        moment = int(seconds) * _BILLION + int(fraction.ljust(9, "0"))
        return lambda timeline: _to_time(timeline, moment)
    if found := _LINE.fullmatch(text):
        line = int(found[1])
        return lambda timeline: timeline.seek(timeline.line(line))
    mark = Mark.parse(text)
    if mark is None and not text.startswith(("exits:", "entry:")):
        raise UsageError(
            f"{shown(text)} is no place: write exits:N, exits:N+BLOCKS, exits:N+BLOCKS.STEPS, "
            "entry:N, time:S, console:N, begin or end"
        )
    goal: Mark | Position | int = parse_goal(text) if mark is None else mark
    return lambda timeline: timeline.seek(goal)


def _to_time(timeline: Timeline, moment: int) -> None:
    """Both of a guest's clocks go on together, and neither goes back: which it reads first is where
    it begins, and what that shows at a keyframe tells whether the moment comes later."""
    if not moment:
        timeline.to_begin()
        return
    recording = timeline.recording
    first = recording.first_reading()
    if first is None:
        raise UsageError(
            f"the guest never reads its clock in {recording.path}: of times, only time:0 is a "
            "place there, the beginning"
        )
    sequence = recording.first
    for keyframe in recording.keyframes:
        if first is None or first[0] >= keyframe.sequence:
            continue
        if keyframe.clock[CLOCKS.index(first[1])] - first[2] >= moment:
            break
        sequence = keyframe.sequence
    begins, latest = recording.first_readings(sequence), 0
    for at, kind, value in recording.readings(sequence, recording.count):
        latest = max(latest, value - begins.setdefault(kind, value))
        if latest >= moment:
            timeline.seek(at)
            return
    raise UsageError(
        f"the guest's clock never shows {_shown(moment)} s in {recording.path}, but at most "
        f"{_shown(latest)} s"
    )


def _shown(moment: int) -> str:
    return f"{moment // _BILLION}.{moment % _BILLION:09}"
