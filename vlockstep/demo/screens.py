"""What a demonstration looks like: alive in a terminal, lines elsewhere."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from rich.console import Console, Group, OverflowMethod, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from vlockstep.demo.plan import Plan
from vlockstep.demo.proof import Check
from vlockstep.demo.story import Moment, Name, Story
from vlockstep.ft.places import Stage

_CONSOLE_LINES = 5
_MOMENTS = 8
_FRAME = 13
"""Rows of a terminal that are neither console text nor events: the title, the replicas, headings,
and the one in which the cursor stays."""
_PROOF = 10
"""Rows that come below in the end."""
_FRAMES = 5
"""Per second."""
_LINE_EVERY = 1.0
"""Seconds between two lines of status where there is no terminal."""
_SETTLED = 0.25
"""Seconds after which a line is printed there: nothing is heard any more that came before it."""
_EXCERPT = 13
"""Characters of the console's last line there."""
_TAIL = 4096
_KIB = 1024
_COLOURS = {"": "", "good": "green", "bad": "bold red"}
_MARKS = {"": "  ", "good": ">>", "bad": "!!"}


class Quiet:
    """Shows nothing."""

    def start(self, plan: Plan) -> None: ...

    def update(self, story: Story, console: Path) -> None: ...

    def stop(self) -> None:
        """The guest has ended: what follows is proof."""

    def check(self, check: Check) -> None: ...

    def verdict(self, ok: bool, notes: list[str], text: str) -> None:
        """`notes` are what there is to know besides."""


class Plain(Quiet):
    """Lines of text, no more than a person can read, each in its place in time."""

    def __init__(self) -> None:
        self._story: Story | None = None
        self._told: set[Moment] = set()
        self._statuses: list[Moment] = []
        self._due: float | None = None

    def start(self, plan: Plan) -> None:
        for line in title(plan):
            _print(line)

    def update(self, story: Story, console: Path) -> None:
        if story.began is None:
            return
        if self._story is None:
            for line in story.introductions():
                _print(line)
        self._story = story
        if self._due is None:
            self._due = story.seconds + _LINE_EVERY
        if story.over is None and story.seconds >= self._due:
            self._due = story.seconds + _LINE_EVERY
            self._statuses.append(Moment(story.seconds, "; ".join(_summary(story, console))))
        self._tell(time.time() - story.began - _SETTLED)

    def stop(self) -> None:
        self._tell(float("inf"))

    def _tell(self, until: float) -> None:
        moments = self._story.moments if self._story else []
        for moment in sorted([*moments, *self._statuses], key=lambda moment: moment.seconds):
            if moment.seconds <= until and moment not in self._told:
                _print(_moment(moment))
                self._told.add(moment)

    def check(self, check: Check) -> None:
        _print(f"{'ok' if check.ok else 'FAILED':<7} {check.name:<12} {check.text}")

    def verdict(self, ok: bool, notes: list[str], text: str) -> None:
        for note in notes:
            _print(note)
        _print(text)


class Terminal(Quiet):
    """A picture that stays in its place and is redrawn a few times a second."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")
        self._due = 0.0
        self._last: tuple[Story, Path] | None = None
        self._unicode = console.encoding.lower().startswith("utf")

    def start(self, plan: Plan) -> None:
        for line in title(plan):
            self._console.print(line, style="bold", markup=False, no_wrap=True, overflow="crop")
        self._live.start()

    def update(self, story: Story, console: Path) -> None:
        now = time.monotonic()
        self._last = story, console
        if now >= self._due:
            self._due = now + 1 / _FRAMES
            self._draw(story, console, whole=False)

    def stop(self) -> None:
        if self._last is not None:
            self._draw(*self._last, whole=True)
        self._live.stop()
        self._console.print()

    def _draw(self, story: Story, console: Path, *, whole: bool) -> None:
        drawn = picture(
            story,
            _lines(story, console),
            self._console.size.height,
            whole=whole,
            overflow="ellipsis" if self._unicode else "crop",
        )
        self._live.update(drawn, refresh=True)

    def check(self, check: Check) -> None:
        mark = ("✓" if check.ok else "✗") if self._unicode else ("ok" if check.ok else "FAILED")
        row = Table.grid(padding=(0, 1))
        row.add_row(
            Text(mark, "green" if check.ok else "bold red"), f"{check.name:<11}", Text(check.text)
        )
        self._console.print(row)

    def verdict(self, ok: bool, notes: list[str], text: str) -> None:
        for note in notes:
            self._console.print(Text(note, "dim"), soft_wrap=True)
        self._console.print(Text(text, "bold green" if ok else "bold red"))


def choose() -> Quiet:
    """The screen that suits standard output."""
    console = Console(highlight=False)
    if console.is_terminal and not console.is_dumb_terminal:
        return Terminal(console)
    return Plain()


def title(plan: Plan) -> list[str]:
    """What is going to happen."""
    seed = f" (seed {plan.seed})" if plan.chosen else ""
    middle = ", in mid-output" if plan.place.startswith(Stage.WRITE) else ""
    return [
        f"{plan.guest} runs on A and on B, two processes that stand for two hosts.",
        f"A is to be {plan.deed} ({plan.signal.name}) at {plan.place}{middle}{seed}.",
    ]


def picture(
    story: Story,
    lines: list[str],
    height: int,
    *,
    whole: bool = False,
    overflow: OverflowMethod = "ellipsis",
) -> RenderableType:
    """For a terminal of that height, always of the same one itself, so that nothing moves; in the
    end, the `whole` of it. Where there is little room, less of the console is shown."""
    room = height - _FRAME
    events = len(story.moments) if whole else min(_MOMENTS, room - 1)
    shown = min(_CONSOLE_LINES, max(1, room - events - (_PROOF if whole else 0)))
    rows = [*_rows(lines, shown, "dim"), *_moments(story.moments[-max(1, events) :], events)]
    for row in rows:
        row.overflow = overflow
    return Group(
        Padding(_replicas(story, overflow), (1, 0, 0, 0)),
        _fault(story),
        _section("console" if story.network is None else "network"),
        *rows[:shown],
        _section("events"),
        *rows[shown:],
    )


def _fault(story: Story) -> Text:
    if story.fault is not None:
        return Text(f"A was {story.plan.deed}", _COLOURS["bad"])
    return Text(story.ahead, "yellow")


def _section(name: str) -> Rule:
    return Rule(Text(name, "dim"), style="dim", align="left")


def _rows(lines: list[str], height: int, style: str) -> list[Text]:
    shown = [*lines[-height:], *[""] * (height - len(lines))]
    return [Text(line, style, no_wrap=True) for line in shown]


def _moments(moments: list[Moment], height: int) -> list[Text]:
    rows = _rows([_moment(moment) for moment in moments], max(height, len(moments)), "")
    for row, moment in zip(rows, moments, strict=False):
        row.stylize(_COLOURS[moment.tone])
    return rows


def _replicas(story: Story, overflow: OverflowMethod) -> Table:
    table = Table.grid(padding=(0, 2), expand=True)
    table.add_column(style="dim", width=10, no_wrap=True)
    table.add_column(ratio=1, no_wrap=True, overflow=overflow)
    table.add_column(ratio=1, no_wrap=True, overflow=overflow)
    columns = [_column(story, who) for who in story.players]
    for row in zip(("", "role", "state", "position", "lag", "log"), *columns, strict=True):
        table.add_row(*row)
    return table


def _column(story: Story, who: Name) -> list[Text]:
    player, status = story.players[who], story.players[who].status
    gone = who in story.ended and player.state != "finished"
    colour = "red" if gone else "green" if status.get("role") == "primary" else "cyan"
    role = f"{status['role']}, generation {status['generation']}" if status else ""
    log = [f"{status['entries']} entries"] if status and player.state != "finished" else []
    if player.log_rate is not None:
        log.append(f"{player.log_rate / _KIB:.1f} KiB/s")
    return [
        Text(f"replica {who}" + (f"  process {player.pid}" if player.pid else ""), "bold"),
        Text(role, "dim" if gone else colour),
        Text(player.state, colour),
        Text(player.position),
        Text(_lag(story) if who == "B" else ""),
        Text(", ".join(log)),
    ]


def _lag(story: Story) -> str:
    if story.lag is None:
        return ""
    entries, milliseconds = story.lag
    return f"{entries} entries, {milliseconds:.1f} ms"


def _moment(moment: Moment) -> str:
    return f"{moment.seconds:7.3f} s {_MARKS[moment.tone]} {moment.text}"


def _summary(story: Story, console: Path) -> list[str]:
    """The replicas that still do something, how far it is to the fault, and the console's last
    line."""
    parts = []
    for who, player in story.players.items():
        status = player.status
        if who in story.ended or not status:
            continue
        behind = f", {_lag(story)} behind" if who == "B" and story.lag is not None else ""
        parts.append(f"{who} {status['role']} ({player.state}){behind}")
    parts += [story.ahead] if story.ahead else []
    if story.network is not None:
        return [*parts, story.network.summary()] if story.network.visitors else parts
    last = console_tail(console)[-1:]
    return [*parts, *(line[:_EXCERPT] + "…" * (len(line) > _EXCERPT) for line in last)]


def _lines(story: Story, console: Path) -> list[str]:
    """What can be seen of the guest."""
    return console_tail(console) if story.network is None else story.network.lines()


def console_tail(path: Path) -> list[str]:
    """The last lines, of which the last one may be incomplete, without control characters."""
    data = b""
    with suppress(OSError), path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
        data = file.read()
    text = data.decode("utf-8", "replace")
    return ["".join(c if c.isprintable() else " " for c in line) for line in text.splitlines()]


def _print(line: str) -> None:
    print(line, flush=True)
