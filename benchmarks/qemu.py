"""The guests `sort`, `preempt` and `writer` under QEMU, which translates instructions as Unicorn
does, can record, replay, go backwards and migrate. QEMU boots them by itself: `guests/qemu/` has
what that takes.

The machine has no devices but those two, no disk and no network: what QEMU's `rr` records is
then the guest and the firmware alone.
"""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any

from benchmarks import programs
from benchmarks.programs import QEMU

NEEDS = (QEMU, "gcc", "make")
HALTED = 1
"""QEMU's exit status when the guest halts with status 0."""
_PATIENCE = 10.0
_MACHINE = (
    "-nodefaults -no-user-config -display none -net none -accel tcg "
    "-chardev stdio,id=console -device isa-debugcon,iobase=0xe9,chardev=console "
    "-device isa-debug-exit,iobase=0xf4,iosize=4"
)


def build(directory: Path, guest: str = "sort") -> Path:
    """The kernel for `command`, built in `directory`."""
    programs.build("qemu", directory)
    return directory / f"{guest}-qemu.elf"


def command(
    kernel: Path,
    arguments: str,
    mode: str = "",
    file: Path | None = None,
    memory: int = 512,
    machine: str = "pc",
) -> list[str]:
    """`mode` is nothing, `record` or `replay`; the latter two with the file to do it with, and
    perhaps more options, behind commas. `memory` is in MiB."""
    counting = ["-icount", f"shift=0,rr={mode},rrfile={file}"] if mode else []
    computer = [QEMU, *_MACHINE.split(), "-machine", machine, "-m", str(memory)]
    return [*computer, "-kernel", str(kernel), "-append", arguments, *counting]


def connect(path: Path) -> socket.socket:
    """To a socket that a QEMU which has just started makes. `OSError` if it does not in time."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(path))
            return connection
        except OSError:
            connection.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


class Monitor:
    """QEMU's, which speaks QMP."""

    def __init__(self, path: Path) -> None:
        self._socket = connect(path)
        self._lines = self._socket.makefile()
        self._lines.readline()
        self.ask("qmp_capabilities")

    def ask(self, name: str, **arguments: object) -> dict[str, Any]:
        self._socket.sendall(json.dumps({"execute": name, "arguments": arguments}).encode())
        while True:
            said = json.loads(self._lines.readline())
            if "error" in said:
                raise RuntimeError(f"QEMU: {said['error']}")
            if "return" in said:
                found: dict[str, Any] = said["return"]
                return found

    def migrated(self, patience: float) -> dict[str, Any]:
        """What it tells of its migration when that has ended, or is given up."""
        deadline = time.monotonic() + patience
        while True:
            state = self.ask("query-migrate")
            if state["status"] not in ("setup", "active", "device", "none"):
                return state
            if time.monotonic() > deadline:
                return state
            time.sleep(0.005)

    def close(self) -> None:
        self._lines.close()
        self._socket.close()
