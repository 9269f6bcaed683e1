"""`vlockstep top`."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlockstep.cli import output
from vlockstep.cli.running import DirectoryOption, JsonOption, run_directory

if TYPE_CHECKING:
    from rich.table import Table

    from vlockstep.supervise.board import Board, Line

HEADERS = ("name", "role", "state", "gen", "lag", "network", "disk/s", "log/s", "held")
_BARS = " ▁▂▃▄▅▆▇█"
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
    from vlockstep.supervise.board import Board
    from vlockstep.supervise.client import Watch

    live = sys.stdout.isatty() and not as_json
    rounds = count if count is not None or live else 1
    board = Board()
    with closing(Watch(run_directory(directory))) as watch:
        board.see(watch.look(), time.monotonic())
        if live:
            _show(board, watch, interval, rounds)
            return
        for _ in range(rounds or 1):
            time.sleep(interval)
            board.see(watch.look(), time.monotonic())
            if as_json:
                for line in board.lines:
                    output.emit(line.to_dict(), flush=True)
            else:
                output.table(HEADERS, [cells(line) for line in board.lines])


def _show(board: Board, watch: Any, interval: float, rounds: int | None) -> None:
    from rich.live import Live

    with Live(_table(board), auto_refresh=False, screen=rounds is None) as screen:
        while rounds is None or rounds > 0:
            screen.update(_table(board), refresh=True)
            time.sleep(interval)
            board.see(watch.look(), time.monotonic())
            rounds = None if rounds is None else rounds - 1
        screen.update(_table(board), refresh=True)


def cells(line: Line) -> list[str]:
    from vlockstep.supervise.board import lag_of

    status = line.status
    if status is None:
        return [line.name, "", line.protection, *[""] * (len(HEADERS) - 3)]
    network = {True: "up", False: "DOWN", None: ""}[status["network"]]
    unprotected = status["role"] == "unprotected"
    unit = "entries" if status["lag_ms"] is None else "ms"
    return [
        line.name,
        status["role"],
        line.protection,
        "" if unprotected else str(status["generation"]),
        "" if unprotected else f"{lag_of(status):.0f} {unit}",
        network,
        _bytes(line.disk_rate),
        "" if unprotected else _bytes(line.log_rate),
        "" if unprotected else str(status["outputs_held"]),
    ]


def _table(board: Board) -> Table:
    """For a terminal."""
    from rich.table import Table
    from rich.text import Text

    pretty = Table(*HEADERS)
    for line in board.lines:
        row = [Text(cell) for cell in cells(line)]
        row[2].stylize(_COLOURS.get(line.protection, ""))
        row[4] = Text.assemble((sparkline(line.lags), "cyan"), " ", row[4])
        if row[5].plain == "DOWN":
            row[5].stylize(_BAD)
        pretty.add_row(*row)
    return pretty


def sparkline(values: Sequence[float]) -> str:
    full = max([_MIN_FULL_LAG, *values])
    steps = len(_BARS) - 1
    return "".join(_BARS[min(steps, round(steps * max(0, v) / full))] for v in values)


def _bytes(rate: float) -> str:
    for unit in ("B", "KB", "MB"):
        if abs(rate) < 1000:
            return f"{rate:.0f} {unit}"
        rate /= 1000
    return f"{rate:.1f} GB"
