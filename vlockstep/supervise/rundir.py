"""The run directory: a socket `NAME.sock` for each guest that runs here.

It belongs to one user, who alone can reach what is in it. Who is there is who listens: the socket
of a process that died is left behind, refuses connections, and is removed by the next who looks.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import select
import socket
import stat
import struct
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from vlockstep.errors import HostError, UsageError

CONNECT_SECONDS = 1.0
_SUFFIX = ".sock"
_LOCK = ".lock"
_LOCK_SECONDS = 5.0
_BACKLOG = 16
_MOST = 10_000
"""Guests of one image that get a name by themselves."""
_MAX_STEM = 40
_NUMBERED = re.compile(r"(.+)-([1-9][0-9]{0,3})")
_MAX_ADDRESS = 100
"""Bytes of a path that a socket's address takes on every system."""


def default_directory() -> Path:
    """The user's own: in `$XDG_RUNTIME_DIR`, or where temporary files are. After `su` that variable
    may be another user's."""
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    with contextlib.suppress(OSError):
        if given.startswith("/") and Path(given).stat().st_uid == os.getuid():
            return Path(given) / "vlockstep"
    return Path(os.environ.get("TMPDIR") or "/tmp") / f"vlockstep-{os.getuid()}"


class RunDirectory:
    """It is made when the first guest gets its socket there."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or default_directory()

    def claim(self, name: str | None, image: str) -> tuple[str, socket.socket]:
        """A listening socket for a guest of this name, or of one made from its image's. Raises
        `UsageError` if another guest here has the name."""
        self._make()
        with self._locked():
            if name is None:
                name = self._free_name(image)
            elif self._listens(name):
                raise UsageError(
                    f"a guest named {name!r} runs here already: give this one another name",
                    key=("name",),
                )
            return name, self._listen(name)

    def release(self, name: str) -> None:
        """By who has claimed it, while it still listens."""
        self._socket(name).unlink(missing_ok=True)

    def names(self) -> list[str]:
        """Of the guests that run here. Sockets of dead ones are removed."""
        if not self.path.exists():
            return []
        self._check()
        found = sorted(
            path.name.removesuffix(_SUFFIX)
            for path in self.path.glob(f"*{_SUFFIX}")
            if _kind(path) == stat.S_IFSOCK
        )
        living = [name for name in found if self._listens(name)]
        for name in set(found) - set(living):
            with self._locked():
                if not self._listens(name):
                    self.release(name)
        return living

    def name_beside(self, name: str) -> str:
        """For another replica of the guest that runs here by this `name`, one that is free now:
        that of `books` is `books-2`, that of `books-2` is `books-3`."""
        numbered = _NUMBERED.fullmatch(name)
        stem, first = (numbered[1], int(numbered[2]) + 1) if numbered else (name, 2)
        stem, taken = stem[:_MAX_STEM], self.names()
        return next(f"{stem}-{n}" for n in count(first) if f"{stem}-{n}" not in taken)

    def connect(self, name: str, seconds: float = CONNECT_SECONDS) -> socket.socket:
        """To the guest of this name. Raises `UsageError` if there is none, and `HostError` if it
        has accepted none of those who came before, and does not in this time."""
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            limit = struct.pack("ll", int(seconds), max(1, int(seconds % 1 * 1e6)))
            made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
            if "/" in name or not self.path.exists():
                raise FileNotFoundError
            self._check()
            with self._address(name) as address:
                made.connect(address)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            made.close()
            known = ", ".join(self.names()) or "none"
            raise UsageError(
                f"no guest {name!r} runs here (running: {known}, in {self.path})"
            ) from error
        except BlockingIOError as error:
            made.close()
            raise HostError(f"{name} does not answer within {seconds:g} s") from error
        except OSError as error:
            made.close()
            raise HostError(f"cannot reach the guest {name!r}: {error.strerror}") from error
        return made

    def _make(self) -> None:
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise HostError(
                f"cannot make the run directory {self.path}: {error.strerror}",
                key=("run_directory",),
            ) from error
        self._check()

    def _check(self) -> None:
        """Nobody else may put anything there."""
        try:
            found = self.path.lstat()
        except OSError as error:
            raise HostError(
                f"cannot use the run directory {self.path}: {error.strerror}",
                key=("run_directory",),
            ) from error
        problem = ""
        if not stat.S_ISDIR(found.st_mode):
            problem = "it is no directory"
        elif found.st_uid != os.getuid():
            problem = "it belongs to another user"
        elif found.st_mode & 0o077:
            problem = f"others may use it, too; close it with: chmod 700 {self.path}"
        if problem:
            raise UsageError(
                f"cannot use the run directory {self.path}: {problem}", key=("run_directory",)
            )

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Nobody else claims a name or removes a socket."""
        deadline = time.monotonic() + _LOCK_SECONDS
        try:
            lock = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise HostError(
                f"cannot use the run directory {self.path}: {error.strerror}",
                key=("run_directory",),
            ) from error
        try:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError as error:
                    if time.monotonic() > deadline:
                        raise HostError(
                            f"another process holds the lock of the run directory {self.path}",
                            key=("run_directory",),
                        ) from error
                    select.select([], [], [], 0.01)  # `time.sleep` fails under faketime 0.9.10
            yield
        finally:
            os.close(lock)

    def _free_name(self, image: str) -> str:
        stem = re.sub(r"[^A-Za-z0-9._-]", "-", Path(image).stem)[:_MAX_STEM]
        stem = stem if stem[:1].isalnum() else f"guest{stem}"
        for number in range(1, _MOST):
            name = f"{stem}-{number}"
            if _kind(self._socket(name)) in (None, stat.S_IFSOCK) and not self._listens(name):
                return name
        raise UsageError(f"{_MOST} guests of {stem} run here: give this one a name", key=("name",))

    def _listens(self, name: str) -> bool:
        """Whether somebody does. Who does not come to accept connections does all the same."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
            try:
                with self._address(name) as address:
                    probe.connect(address)
            except (FileNotFoundError, ConnectionRefusedError):
                return False
            except OSError:
                return True
        return True

    def _listen(self, name: str) -> socket.socket:
        path = self._socket(name)
        if _kind(path) not in (None, stat.S_IFSOCK):
            raise UsageError(
                f"{path} exists and is no socket: give the guest another name", key=("name",)
            )
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            self.release(name)  # a dead one's
            os.fchmod(made.fileno(), 0o600)
            with self._address(name) as address:
                made.bind(address)
            path.chmod(0o600)
            made.listen(_BACKLOG)
        except OSError as error:
            made.close()
            raise HostError(
                f"cannot listen in the run directory {self.path}: {error.strerror or error}",
                key=("run_directory",),
            ) from error
        return made

    def _socket(self, name: str) -> Path:
        return self.path / f"{name}{_SUFFIX}"

    @contextlib.contextmanager
    def _address(self, name: str) -> Iterator[str]:
        """Of the guest's socket, for as long as it is used: a path may be longer than an address
        can be, and then goes by way of its directory's descriptor."""
        path = self._socket(name)
        if len(os.fsencode(path)) <= _MAX_ADDRESS:
            yield str(path)
            return
        directory = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            short = f"/proc/self/fd/{directory}/{name}{_SUFFIX}"
            if not Path(short).parent.exists():
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
            yield short
        finally:
            os.close(directory)


def _kind(path: Path) -> int | None:
    """Which kind of file it is itself, whatever a link leads to; None if there is none."""
    try:
        return stat.S_IFMT(path.lstat().st_mode)
    except OSError:
        return None
