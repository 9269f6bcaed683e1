"""The table of faults: what must happen, and what did."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

_COLUMNS = {"fault": 3, "must": 4, "did": 4}
_OK = {True: "yes", False: "NO", None: "-"}


def render(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows of `Result.row` as text, as wide as the terminal."""
    table = Table(box=box.SIMPLE_HEAD)
    for column, ratio in _COLUMNS.items():
        table.add_column(column, ratio=ratio)
    table.add_column("ok")
    table.add_column("s", justify="right")
    for row in rows:
        ok = row["ok"]
        assert ok is None or isinstance(ok, bool)
        texts = [str(row[column]) for column in _COLUMNS]
        table.add_row(*map(Text, texts), _OK[ok], str(row["seconds"]))
    console = Console(width=shutil.get_terminal_size((140, 0)).columns)
    with console.capture() as capture:
        console.print(table)
    return capture.get()
