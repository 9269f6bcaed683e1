"""gdb itself, with the image's symbols and the commands of `commands.gdb`."""

from __future__ import annotations

import shutil
from importlib import resources
from pathlib import Path

COMMANDS = "commands.gdb"
_TIMEOUT = 60
"""Seconds for an answer that is none to a resumption; seeking may take some."""


def find() -> str | None:
    """None if it is not installed."""
    return shutil.which("gdb")


def command_line(
    program: str, image: Path, address: str, directory: Path, batch: Path | None
) -> list[str]:
    """To be carried out while `directory`, for files of ours, is there. With `batch`, a file of
    gdb's commands, those are carried out and nothing else."""
    ours = directory / COMMANDS
    ours.write_bytes((resources.files(__package__) / COMMANDS).read_bytes())
    options = ["-q"] if batch is None else ["-q", "-batch", "-nx"]
    return [
        program,
        *options,
        *("-iex", f"set remotetimeout {_TIMEOUT}"),
        str(image),
        *("-ex", f"target remote {address}"),
        *("-x", str(ours)),
        *([] if batch is None else ["-x", str(batch)]),
    ]
