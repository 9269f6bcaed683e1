"""The guests `sort` and `writer` under QEMU, which translates instructions as Unicorn does, can
record, replay and migrate. QEMU boots them by itself: `guests/qemu/` has what that takes.

The machine has no devices but those two, no disk and no network: what QEMU's `rr` records is
then the guest and the firmware alone.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks import programs
from benchmarks.programs import QEMU

NEEDS = (QEMU, "gcc", "make")
HALTED = 1
"""QEMU's exit status when the guest halts with status 0."""
_MACHINE = (
    "-nodefaults -no-user-config -display none -net none -machine pc -accel tcg "
    "-chardev stdio,id=console -device isa-debugcon,iobase=0xe9,chardev=console "
    "-device isa-debug-exit,iobase=0xf4,iosize=4"
)


def build(directory: Path, guest: str = "sort") -> Path:
    """The kernel for `command`, built in `directory`."""
    programs.build("qemu", directory)
    return directory / f"{guest}-qemu.elf"


def command(
    kernel: Path, arguments: str, mode: str = "", file: Path | None = None, memory: int = 512
) -> list[str]:
    """`mode` is nothing, `record` or `replay`; the latter two with the file to do it with.
    `memory` is in MiB."""
    counting = ["-icount", f"shift=0,rr={mode},rrfile={file}"] if mode else []
    machine = [QEMU, *_MACHINE.split(), "-m", str(memory)]
    return [*machine, "-kernel", str(kernel), "-append", arguments, *counting]
