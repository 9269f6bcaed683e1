"""Processes of the command as forks of one that has imported it: see `forkserver`.

`Popen` is subprocess.Popen, and `installed` puts it in that one's place. Only what is usual begins
as a fork: with a terminal, in another environment, with other limits, namespaces or rights than the
server, or `executing`, a process is executed as it ever was.
"""

from __future__ import annotations

import json
import os
import platform
import re
import resource
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from forkserver import CMDLINE, MAX_FILES, MAX_REQUEST, READY

from vlockstep.testing.process import environment

MODULES = {"vlockstep"}
"""Of `python -m MODULE …` that begins as a fork."""
_EXECUTED = subprocess.Popen
_LIVELY = {"PYTEST_CURRENT_TEST", "XDG_RUNTIME_DIR", "XDG_STATE_HOME", "TMPDIR"}
"""Variables that nothing reads before the command begins."""
_STATUS = re.compile(
    "(Umask|[UG]id|Groups|Sig(Blk|Ign)|Cap...|NoNewPrivs|Seccomp|(Cpus|Mems)_allowed):.*"
)
_LIMITS = [getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")]
_TRACED = "COVERAGE_PROCESS_CONFIG"
"""In whose processes coverage is measured."""
_TIMEOUT = 60.0
_OUTDATED = 40
"""Processes that were executed, one after the other."""


class _Server:
    """What is known of it here."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._lock = threading.Lock()
        self._environment = _lasting(environ)
        self._given = _given()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(_TIMEOUT)
        self._said = tempfile.TemporaryFile()  # noqa: SIM115
        with theirs:
            program = Path(__file__).with_name("forkserver.py")
            self._process = _EXECUTED(
                [sys.executable, program, str(theirs.fileno()), "-" * CMDLINE],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._said,
                pass_fds=[theirs.fileno()],
                env=environ,
            )
        self._able = self._answer() == READY
        self._missed = 0

    def has(self, environ: Mapping[str, str]) -> bool:
        """Whether a child of the calling thread is given what a fork would have."""
        same = _lasting(environ) == self._environment and _given() == self._given
        self._missed = 0 if same else self._missed + 1
        return self._able and same

    @property
    def outdated(self) -> bool:
        """Nothing has been as it is here for long; perhaps it never will be."""
        return self._able and self._missed >= _OUTDATED

    def start(self, request: dict[str, Any], files: list[int]) -> int | None:
        data = json.dumps(request).encode()
        if len(data) > MAX_REQUEST or len(files) > MAX_FILES:
            return None
        with self._lock:
            try:
                socket.send_fds(self._socket, [data], files)
                return int(self._answer())
            except BaseException:
                self._socket.close()  # an answer that is late is to another's question
                raise

    def _answer(self) -> bytes:
        answer = self._socket.recv(100)
        if not answer:
            status = self._process.wait(_TIMEOUT)
            self._said.seek(0)
            said = self._said.read().decode(errors="replace")
            raise RuntimeError(f"the server of forks ended with {status}: {said}")
        return answer

    def close(self) -> None:
        """End it; what it has begun goes on."""
        self._socket.close()
        self._process.wait(_TIMEOUT)
        self._said.close()


def _lasting(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name not in _LIVELY}


def _given() -> list[object]:
    """What a process has from the thread that starts it."""
    thread = Path("/proc/thread-self")
    lines = (thread / "status").read_text().splitlines()
    return [
        *filter(_STATUS.fullmatch, lines),
        *(space.readlink() for space in sorted((thread / "ns").iterdir())),
        *map(resource.getrlimit, _LIMITS),
        os.getpriority(os.PRIO_PROCESS, 0),
    ]


_server: _Server | None = None
_starting = threading.Lock()
_executing = False


class Popen(subprocess.Popen):
    """Begins as a fork where that is no other than an executed one."""

    def _execute_child(self, *arguments: Any) -> None:
        (args, executable, preexec, close_fds, pass_fds, cwd, environ, _, _, shell,
         stdin, p2cwrite, c2pread, stdout, errread, stderr,
         restore, gid, gids, uid, umask, session, group) = arguments  # fmt: skip
        special = executable, preexec, gid, gids, uid, group, umask, shell, close_fds, restore
        pid = None
        if special == (None, None, None, None, None, -1, -1, False, True, True):
            ends = enumerate((stdin, stdout, stderr))
            files = [number if end == -1 else end for number, end in ends] + list(pass_fds)
            pid = _forked(args, cwd, os.environ if environ is None else environ, session, files)
        if pid is None:
            super()._execute_child(*arguments)
            return
        self.pid = pid
        self._child_created = True
        self._close_pipe_fds(stdin, p2cwrite, c2pread, stdout, errread, stderr)


def _forked(
    argv: object, cwd: Any, environ: Mapping[Any, Any], session: bool, files: list[int]
) -> int | None:
    """The number of the new process; None if it is to be executed."""
    if _executing or not isinstance(argv, list) or argv[:2] != [sys.executable, "-m"]:
        return None
    if not all(isinstance(word, str) for word in [*argv, *environ, *environ.values()]):
        return None
    folder = Path.cwd() / (cwd or ".")
    length = sum(len(os.fsencode(word)) + 1 for word in argv)
    if not MODULES.intersection(argv[2:3]) or length > CMDLINE or not folder.is_dir():
        return None
    if _TRACED in environ or any(map(os.isatty, files[:3])):
        return None
    global _server
    with _starting:
        if _server is None:
            _server = _Server(environment())
    if not _server.has(environ):
        if _server.outdated:
            renew()
        return None
    request = {
        "argv": argv,
        "cwd": str(folder),
        "environment": dict(environ),
        "session": session,
        "numbers": [0, 1, 2, *files[3:]],
    }
    return _server.start(request, files)


@contextmanager
def installed() -> Iterator[None]:
    """All who start processes by subprocess start them so."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        yield
        return
    subprocess.Popen = Popen
    try:
        yield
    finally:
        subprocess.Popen = _EXECUTED
        renew()


def renew() -> None:
    """Fork from now on as it is here now."""
    global _server
    if _server is not None:
        _server.close()
        _server = None


@contextmanager
def executing() -> Iterator[None]:
    """In which every process is executed."""
    global _executing
    before, _executing = _executing, True
    try:
        yield
    finally:
        _executing = before
