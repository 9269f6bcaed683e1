"""A file that appears whole, or not at all."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vlockstep.errors import HostError, UsageError
from vlockstep.files.atomicfile import sync
from vlockstep.files.locks import occupy

_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
"""Of a filesystem where a file has one name."""


@contextmanager
def appearing(path: Path, name: str, may_replace: bool = False) -> Iterator[Path]:
    """An empty file beside `path`, which `name` names for people, to be filled meanwhile. It is
    there under its own name, and on the disk, when the block has ended; if that raises, nothing is
    left of it. What was there before is replaced only if that is allowed and nobody uses it.

    Raises `UsageError` or `HostError`, `InUse` among them.
    """
    path = Path(os.path.realpath(path))
    try:
        with _replaceable(path, name, may_replace):
            draft = path.with_name(f".{secrets.token_hex(8)}.part")
            os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
            try:
                yield draft
                sync(draft)
                _name(draft, path, name, may_replace)
            finally:
                with suppress(FileNotFoundError):
                    draft.unlink()
            sync(path.parent)
    except OSError as error:
        raise HostError(f"cannot write {name}: {error.strerror}") from error


@contextmanager
def _replaceable(path: Path, name: str, may_replace: bool) -> Iterator[None]:
    """Keep others from using what is there, if anything is."""
    if not path.exists():
        yield
        return
    if not path.is_file():
        raise UsageError(f"{name} is no regular file: name one, or a new one")
    if not may_replace:
        raise _there_already(name)
    fd = occupy(path, name)
    try:
        yield
    finally:
        os.close(fd)


def _name(draft: Path, path: Path, name: str, may_replace: bool) -> None:
    if may_replace:
        draft.replace(path)
        return
    try:
        path.hardlink_to(draft)  # unlike a new name it never hides another file
    except FileExistsError:
        raise _there_already(name) from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if path.exists():
            raise _there_already(name) from None
        draft.rename(path)


def _there_already(name: str) -> UsageError:
    return UsageError(
        f"{name} is there already: name another, or say that it may be replaced", key=("force",)
    )
