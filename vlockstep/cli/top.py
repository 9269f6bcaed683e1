"""`vlockstep top`."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlockstep.cli import output
from vlockstep.cli.running import DirectoryOption, JsonOption, run_directory

if TYPE_CHECKING:
    from rich.table import Table

    from vlockstep.supervise.client import Sight

HEADERS = ("name", "role", "state", "gen", "lag", "network", "disk/s", "log/s", "held")
_BARS = " ▁▂▃▄▅▆▇█"
_SAMPLES = 20
_GOOD, _BAD = "green", "bold red"
_COLOURS = {"protected": _GOOD, "following": _GOOD, "unprotected": "yellow", "ALONE": _BAD}
_MIN_FULL_LAG = 10.0
"""Milliseconds, or entries: the bars are full at the largest lag seen, but not below this."""


def top(
    interval: Annotated[
        float,
        typer.Option(
            "--interval", metavar="S", min=0.1, max=3600, help="Seconds from one look to the next."
        ),
    ] = 1.0,
    count: Annotated[
        int | None,
        typer.Option(
            "--count",
            metavar="N",
            min=1,
            help="Look so often; by default until Ctrl-C, and once where it is no terminal.",
            show_default=False,
        ),
    ] = None,
    directory: DirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Watch all guests that run here: protection, lag, network, and what they read and write."""
    from vlockstep.supervise.client import Watch

    live = sys.stdout.isatty() and not as_json
    rounds = count if count is not None or live else 1
    board = Board()
    with closing(Watch(run_directory(directory))) as watch:
        board.see(watch.look(interval), time.monotonic())
        if live:
            _show(board, watch, interval, rounds)
            return
        for _ in range(rounds or 1):
            time.sleep(interval)
            board.see(watch.look(interval), time.monotonic())
            if as_json:
                for line in board.lines:
                    output.emit(line.to_dict(), flush=True)
            else:
                output.table(HEADERS, [line.cells() for line in board.lines])


def _show(board: Board, watch: Any, interval: float, rounds: int | None) -> None:
    from rich.live import Live

    with Live(board.table(), auto_refresh=False, screen=rounds is None) as screen:
        while rounds is None or rounds > 0:
            screen.update(board.table(), refresh=True)
            time.sleep(interval)
            board.see(watch.look(interval), time.monotonic())
            rounds = None if rounds is None else rounds - 1
        screen.update(board.table(), refresh=True)


class Line:
    """A guest, and what it has done since somebody looked before."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lags: deque[float] = deque(maxlen=_SAMPLES)
        self._status: Mapping[str, Any] | None = None
        self._seen_at = 0.0
        self._disk_rate = self._log_rate = 0.0

    def see(self, sight: Sight, now: float) -> None:
        before, status = self._status, sight.status
        if status is not None:
            self.lags.append(_lag(status))
            seconds = now - self._seen_at
            if before is not None and seconds > 0:
                self._disk_rate = (_disk_bytes(status) - _disk_bytes(before)) / seconds
                self._log_rate = (status["channel_bytes"] - before["channel_bytes"]) / seconds
            self._seen_at = now
        self._status = status

    @property
    def protection(self) -> str:
        """In a word; loud where somebody should look."""
        status = self._status
        if status is None:
            return "no answer"
        if status["role"] == "unprotected":
            return "unprotected"
        return "ALONE" if status["state"] == "alone" else str(status["state_text"])

    def cells(self) -> list[str]:
        status = self._status
        if status is None:
            return [self.name, "", self.protection, *[""] * (len(HEADERS) - 3)]
        network = {True: "up", False: "DOWN", None: ""}[status["network"]]
        unprotected = status["role"] == "unprotected"
        unit = "entries" if status["lag_ms"] is None else "ms"
        return [
            self.name,
            status["role"],
            self.protection,
            "" if unprotected else str(status["generation"]),
            "" if unprotected else f"{_lag(status):.0f} {unit}",
            network,
            _bytes(self._disk_rate),
            "" if unprotected else _bytes(self._log_rate),
            "" if unprotected else str(status["outputs_held"]),
        ]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        rates = {"disk_bytes_per_s": self._disk_rate, "log_bytes_per_s": self._log_rate}
        return {"name": self.name, "protection": self.protection, **rates, "status": self._status}


class Board:
    """All guests, in order."""

    def __init__(self) -> None:
        self._lines: dict[str, Line] = {}

    @property
    def lines(self) -> Sequence[Line]:
        return [*self._lines.values()]

    def see(self, sights: Iterable[Sight], now: float) -> None:
        seen = {sight.name: sight for sight in sights}
        self._lines = {name: self._lines.get(name) or Line(name) for name in seen}
        for name, line in self._lines.items():
            line.see(seen[name], now)

    def table(self) -> Table:
        """For a terminal."""
        from rich.table import Table
        from rich.text import Text

        pretty = Table(*HEADERS)
        for line in self.lines:
            cells = [Text(cell) for cell in line.cells()]
            cells[2].stylize(_COLOURS.get(line.protection, ""))
            cells[4] = Text.assemble((sparkline(line.lags), "cyan"), " ", cells[4])
            if cells[5].plain == "DOWN":
                cells[5].stylize(_BAD)
            pretty.add_row(*cells)
        return pretty


def sparkline(values: Sequence[float]) -> str:
    full = max([_MIN_FULL_LAG, *values])
    steps = len(_BARS) - 1
    return "".join(_BARS[min(steps, round(steps * max(0, v) / full))] for v in values)


def _lag(status: Mapping[str, Any]) -> float:
    lag = status["lag_entries"] if status["lag_ms"] is None else status["lag_ms"]
    return float(lag)


def _disk_bytes(status: Mapping[str, Any]) -> int:
    return sum(c["read"] + c["written"] for c in status["disks"].values())


def _bytes(rate: float) -> str:
    for unit in ("B", "KB", "MB"):
        if abs(rate) < 1000:
            return f"{rate:.0f} {unit}"
        rate /= 1000
    return f"{rate:.1f} GB"
