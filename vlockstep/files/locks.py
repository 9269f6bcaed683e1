"""One writer: a file in use is locked, and whoever comes second is refused and told by whom.

Each user of a file locks, through its open file, one byte far beyond any data: no sidecar file,
nothing is written, and the lock ends with its owner however that ends. The byte's place tells who
the user is: the *group* of those that may use the file together, such as the replicas of a guest,
and within the group a *token* of the user's own. After it has locked its byte it looks for locks
outside of its group. So of two that start at once both may be refused, but never do both pass.
Whoever is told another's token can see, on its own open file, whether that is the same file.

These are Linux's open file description locks (fcntl(2)), which reach as far as the filesystem's
locks do: over NFS to other hosts. Disks are locked as QEMU locks images, too (block/file-posix.c:
byte 100+n for each way of using an image, 200+n for each that others may not), so that `qemu` and
`qemu-img` are refused, and refuse us.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
import struct
import sys
import uuid
import warnings
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from vlockstep.errors import HostError, VlockstepWarning
from vlockstep.files.processes import command_line

PRIVATE = 0o600
"""Mode of a new file that holds what a guest knows, such as its keys: a log, a capture, its RAM."""
_FLOCK = struct.Struct("@hhqqi4x")  # struct flock of a 64-bit Linux
_REGION = 1 << 62
_GROUP_BITS, _TOKEN_BITS = 36, 24
_GROUP_SIZE = 1 << _TOKEN_BITS
_REGION_SIZE = 1 << _GROUP_BITS + _TOKEN_BITS
_ASIDE = _REGION - 1
"""A byte whose lock means nothing to anybody."""
_QEMU = (100, 200)
"""First byte and number of those that QEMU uses; it never locks all of them at once."""
_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
_HELD = {errno.EAGAIN, errno.EACCES}
_LOCAL = ("9p", "fuse", "virtiofs", "vboxsf")
"""Filesystems of other hosts of whose locks those may know nothing."""
_PROCESS = uuid.uuid4().hex
"""With its number, this process: forks share this."""


class InUse(HostError):
    """Somebody else uses the file."""


class FileLock:
    """The lock of a user of `group` on the open file `fd`, which `name` names for people. It lasts
    as long as the open file. By default the group is this process, as it uses what it names so.

    What is no regular file and no block device can be used by many. Where there are no locks this
    user goes on without one, with a `VlockstepWarning`.
    """

    def __init__(self, fd: int, name: str, group: str = "", *, qemu: bool = False) -> None:
        self.name = name
        self.token: int | None = None
        """None if the file is not locked."""
        self._fd = fd
        self._shared = bool(group)
        group = group or f"{_PROCESS} {os.getpid()} {name}"
        digest = hashlib.blake2b(os.fsencode(group), digest_size=8).digest()
        number = int.from_bytes(digest, "little") % (1 << _GROUP_BITS)
        self._group = _REGION + number * _GROUP_SIZE
        mode = os.fstat(fd).st_mode
        self.lockable = stat.S_ISREG(mode) or stat.S_ISBLK(mode)
        if not self.lockable:
            return
        token = int.from_bytes(os.urandom(_TOKEN_BITS // 8), "little")
        try:
            if qemu:
                self._look(False)  # who is refused has not kept QEMU away meanwhile
                self._lock(*_QEMU)
            self._lock(self._group + token, 1)
            self._look(qemu)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            warnings.warn(
                f"{name} cannot be locked ({error.strerror}): "
                "see to it yourself that nobody else uses it",
                VlockstepWarning,
                stacklevel=2,
            )
            return
        self.token = token

    def sees(self, token: int) -> bool:
        """Whether another one of the group has this file open with that `token`."""
        if self.token is None or not 0 <= token < _GROUP_SIZE:
            return False
        try:
            return _find(self._fd, self._group + token, 1) is not None
        except OSError as error:
            raise HostError(f"cannot look for locks on {self.name}: {error.strerror}") from error

    def is_on(self, path: Path) -> bool:
        """Whether it is the lock of the file that is there."""
        try:
            return os.path.samestat(os.fstat(self._fd), path.stat())
        except OSError:
            return False

    @property
    def seen_everywhere(self) -> bool:
        """Whether another one would surely see this lock on the same file, if on another host."""
        return self.token is not None and _reaches_others(self._fd)

    def _lock(self, start: int, length: int) -> None:
        try:
            _call("F_OFD_SETLK", self._fd, _kind(self._fd), start, length)
        except OSError as error:
            found = _find(self._fd, start, length) if error.errno in _HELD else None
            if found is None:
                raise
            raise self._in_use(found) from error

    def _look(self, qemu: bool) -> None:
        """Refuse to go on if somebody outside of the group is there."""
        behind = self._group + _GROUP_SIZE
        found = _find(self._fd, _REGION, self._group - _REGION)
        found = found or _find(self._fd, behind, _REGION + _REGION_SIZE - behind)
        if found is None and qemu:
            found = _find(self._fd, *_QEMU)
            if found == _QEMU:
                found = None  # of the group: it saw to it that QEMU was not there before it
        if found is not None:
            raise self._in_use(found)

    def _in_use(self, extent: _Extent) -> InUse:
        who = _holder(self._fd, extent)
        hint = "; only replicas of one guest, with one arbiter, share it" if self._shared else ""
        return InUse(f"{self.name} is in use by {who}{hint}")


def open_locked(path: Path, name: str) -> int:
    """Open a file for writing, which `name` names for people, lock it, and leave in it what is
    there. A new one is private. Raises `OSError` or `InUse`."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
    try:
        FileLock(fd, name)
    except BaseException:
        os.close(fd)
        raise
    return fd


def occupy(path: Path, name: str) -> int:
    """Open a file that is to be replaced, which `name` names for people, and lock it, so that
    nobody uses it meanwhile. Raises `OSError` or `InUse`."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        FileLock(fd, name, qemu=True)
    except BaseException:
        os.close(fd)
        raise
    return fd


def empty(fd: int) -> None:
    """Drop what an open file holds, if it is one that holds something. Raises `OSError`."""
    if stat.S_ISREG(os.fstat(fd).st_mode):
        os.ftruncate(fd, 0)


def user_of(fd: int) -> str | None:
    """Who else uses an open file, for people; None if nobody is seen to."""
    try:
        found = _find(fd, _REGION, _REGION_SIZE) or _find(fd, *_QEMU)
    except OSError:
        return None
    return None if found is None else _holder(fd, found)


# Locks


class _Extent(NamedTuple):
    """Bytes that are locked."""

    start: int
    length: int


def _kind(fd: int) -> int:
    """Who can only write cannot share a lock, and nobody shares a file with it."""
    writes_only = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY
    return fcntl.F_WRLCK if writes_only else fcntl.F_RDLCK


def _find(fd: int, start: int, length: int) -> _Extent | None:
    """Some lock that others hold on these bytes."""
    if length == 0:  # would mean: to the end of the file
        return None
    kind, _, at, size, _ = _FLOCK.unpack(_call("F_OFD_GETLK", fd, fcntl.F_WRLCK, start, length))
    return None if kind == fcntl.F_UNLCK else _Extent(at, size)


def _call(command: str, fd: int, kind: int, start: int, length: int) -> bytes:
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, "this system has no locks that would do")
    answer: bytes = fcntl.fcntl(
        fd, getattr(fcntl, command), _FLOCK.pack(kind, os.SEEK_SET, start, length, 0)
    )
    return answer


# Who it is


def _holder(fd: int, extent: _Extent) -> str:
    """Who holds this lock on the file, for people."""
    file = _file(fd)
    last = str(extent.start + extent.length - 1) if extent.length else "EOF"
    wanted = (file, str(extent.start), last)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            infos = list((process / "fdinfo").iterdir())
        except OSError:
            continue  # it has ended, or belongs to somebody else
        if any(wanted in _locks_of(info) for info in infos):
            pid = int(process.name)
            if pid == os.getpid():
                return "this very process"
            return f"process {pid} ({command_line(pid)})"
    if wanted in _locks_of(Path("/proc/locks")):
        return "a process of this host that cannot be seen from here"
    return "a process on another host"


def _file(fd: int) -> str | None:
    """What proc(5) calls an open file: it tells that of those that hold a lock."""
    own = Path(f"/proc/self/fdinfo/{fd}")
    if not _locks_of(own):
        with suppress(OSError):
            _call("F_OFD_SETLK", fd, _kind(fd), _ASIDE, 1)
    try:
        return next((file for file, *_ in _locks_of(own)), None)
    finally:
        with suppress(OSError):
            _call("F_OFD_SETLK", fd, fcntl.F_UNLCK, _ASIDE, 1)


def _locks_of(path: Path) -> list[tuple[str, str, str]]:
    """The file, the first byte and the last of each lock that is listed in a file of proc(5)."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return []
    fields = (line.removeprefix("lock:").split() for line in lines if "ADVISORY" in line)
    return [(words[5], words[6], words[7]) for words in fields if len(words) == 8]


def _reaches_others(fd: int) -> bool:
    """Whether the locks of the filesystem are seen by other hosts that have it, if any have."""
    try:
        if stat.S_ISBLK(os.fstat(fd).st_mode):
            return False
        info = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
        mount = next(line.split()[1] for line in info if line.startswith("mnt_id:"))
        mounts = (line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines())
        words = next(words for words in mounts if words[0] == mount)
    except (OSError, StopIteration):
        return False
    kind, options = words[words.index("-") + 1], words[-1].split(",")
    if kind.startswith("nfs"):
        return not {"nolock", "local_lock=all", "local_lock=posix"} & set(options)
    return not kind.startswith(_LOCAL)
