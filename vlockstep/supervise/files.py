"""What a guest is read from and writes to besides its disks: image, console, log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from vlockstep.errors import HostError, Key, UsageError
from vlockstep.files.locks import open_locked
from vlockstep.host.attach import DiskSpec
from vlockstep.host.devices import ConsoleFile, ConsoleStream
from vlockstep.machine.bundled import image_file


def files_of(image: str, disks: Iterable[DiskSpec]) -> tuple[Path, ...]:
    """What a guest is read from and writes to: its image, unless it is bundled, and its disks."""
    file = image_file(image)
    files = [*([file] if file is not None else []), *(disk.path for disk in disks)]
    return tuple(path for path in files if path.exists())


def open_console(
    path: Path | None, files: Iterable[Path] = (), group: str = ""
) -> ConsoleFile | ConsoleStream:
    """Standard output, or a file that is none of `files`; it is as it was before."""
    if path is None:
        return ConsoleStream()
    refuse_overwriting(path, "console file", files, ("console",))
    return ConsoleFile(path, group)


def open_empty_console(
    path: Path | None, files: Iterable[Path] = (), group: str = ""
) -> ConsoleFile | ConsoleStream:
    console = open_console(path, files, group)
    if isinstance(console, ConsoleFile):
        console.truncate()
    return console


def reserve_log(path: Path, files: Iterable[Path]) -> None:
    """Open and lock the file of a log as it is, for as long as this process runs: it will write
    it, as a `LogWriter`, and it is none of `files`. But a FIFO is left alone: opening it takes
    somebody who reads, who would then wait for its end."""
    refuse_overwriting(path, "log", files, ("log",))
    try:
        if not path.is_fifo():
            open_locked(path, f"the log {path}")
    except OSError as error:
        raise HostError(f"cannot write the log {path}: {error.strerror}", key=("log",)) from error


def refuse_overwriting(path: Path, what: str, files: Iterable[Path], key: Key) -> None:
    """Refuse to write to `path` if it is one of `files`, which the guest uses otherwise."""
    for file in files:
        both = path.exists() and file.exists()
        if path.samefile(file) if both else path.absolute() == file.absolute():
            raise UsageError(f"the {what} {path} is used otherwise here: name another", key=key)


def check_moved(disks: Iterable[DiskSpec], moved: Mapping[str, str]) -> None:
    """For a fresh start: a disk that had moved while the guest ran before is in that file, not in
    the one from which it had begun. Raises `UsageError` for one that is given there."""
    for disk in disks:
        path = Path(moved.get(disk.name, ""))
        if disk.name not in moved or disk.local or not path.exists():
            continue
        if not (disk.path.exists() and disk.path.samefile(path)):
            raise UsageError(
                f"the disk {disk.name!r} had moved to {path} when the guest ran last: give that; "
                f"to begin with {disk.path} all the same, use a new directory for the arbiter",
                key=("disk", disk.name),
            )
