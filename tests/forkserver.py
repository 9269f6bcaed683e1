"""A process that has imported the command, and begins others as forks of itself.

`python tests/forkserver.py FD` answers on the Unix socket FD until that is closed; `forking` is who
asks. What it begins is a process in its own right, a child of who started the server, in the state
in which `python -m MODULE` starts. Not its own is what is drawn at exec: the seed of hashes, and
where libraries lie in memory.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import io
import json
import os
import pkgutil
import runpy
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

MAX_REQUEST = 1 << 17
MAX_FILES = 64
READY, NOT_HERE = b"ready", b"not here"
"""The server's first word: whether it can begin forks."""
CMDLINE = 1 << 13
"""Bytes of the server's command line that those of its forks may take."""
_FOLDERS = (
    "arbiter cli cluster files ft host machine net program protocol replay supervise switch wire"
)
_APART = ("sim", "oracle", "__main__")
"""Modules of other programs."""
_CLONE_PARENT, _CLONE_CHILD_CLEARTID, _CLONE_CHILD_SETTID = 0x8000, 0x200000, 0x1000000
_CLONE = 56  # on x86-64
_GET_TID_ADDRESS = 40
_STREAMS = {"stdin": (0, "rb"), "stdout": (1, "wb"), "stderr": (2, "wb")}


class _Child(NamedTuple):
    """What a fork is to be."""

    request: dict[str, Any]
    files: list[int]


def main() -> None:
    asks = socket.socket(fileno=int(sys.argv[1]))
    _import_all()
    gc.collect()
    gc.freeze()
    threads = list(Path("/proc/self/task").iterdir())
    assert len(threads) == 1, "a fork has the thread that forks, and no other"
    thread = _thread_address()
    asks.send(READY if thread else NOT_HERE)
    child = _serve(asks, thread)
    if child is None:
        return
    asks.detach()  # its number may soon be another file's
    _become(child)
    runpy._run_module_as_main(child.request["argv"][2])  # what -m is


def _import_all() -> None:
    for folder in _FOLDERS.split():
        for name in _modules(f"vlockstep.{folder}"):
            importlib.import_module(name)


def _modules(name: str) -> Iterator[str]:
    yield name
    package = importlib.import_module(name)
    for found in pkgutil.iter_modules(package.__path__, f"{name}."):
        if found.name.rpartition(".")[2] in _APART:
            continue
        if found.ispkg:
            yield from _modules(found.name)
        else:
            yield found.name


def _serve(asks: socket.socket, thread: int) -> _Child | None:
    """Returns in each fork what it is to be, and None in the server at its end."""
    while True:
        try:
            data, files, _, _ = socket.recv_fds(asks, MAX_REQUEST, MAX_FILES)
        except (KeyboardInterrupt, ConnectionError):
            return None
        if not data:
            return None
        pid = _fork(thread)
        if pid == 0:
            return _Child(json.loads(data), list(files))
        for file in files:
            os.close(file)
        asks.send(str(pid).encode())


def _thread_address() -> int:
    """Where libc keeps the thread's number, which is another in a fork; 0 if that is not told."""
    found = ctypes.c_void_p()
    arguments = [ctypes.byref(found), *map(ctypes.c_ulong, (0, 0, 0))]
    failed = ctypes.CDLL(None).prctl(_GET_TID_ADDRESS, *arguments)
    return 0 if failed else found.value or 0


def _fork(thread: int) -> int:
    """As os.fork does, but the child's parent is ours."""
    libc = ctypes.PyDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    flags = _CLONE_PARENT | _CLONE_CHILD_CLEARTID | _CLONE_CHILD_SETTID | signal.SIGCHLD
    arguments = map(ctypes.c_long, (_CLONE, flags, 0, 0, thread, 0))
    python = ctypes.pythonapi
    python.PyOS_BeforeFork()
    pid = int(libc.syscall(*arguments))
    if pid == 0:
        python.PyOS_AfterFork_Child()
    else:
        python.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(ctypes.get_errno(), "clone")
    return pid


def _become(child: _Child) -> None:
    request = child.request
    if request["session"]:
        os.setsid()
    _place(dict(zip(request["numbers"], child.files, strict=True)))
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    argv = request["argv"]
    sys.orig_argv[:] = argv
    sys.argv[:] = ["-m", *argv[3:]]
    sys.path[0] = request["cwd"]
    _show(argv)
    for name, (number, mode) in _STREAMS.items():
        stream = _open(name, number, mode)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _place(wanted: dict[int, int]) -> None:
    """Files get their numbers, and there are no others."""
    above = max(*wanted, *wanted.values()) + 1
    moved = {}
    for number, file in wanted.items():
        moved[number] = above
        os.dup2(file, above)
        above += 1
    for number, file in moved.items():
        os.dup2(file, number, inheritable=True)
    last = -1
    for number in [*sorted(wanted), os.sysconf("SC_OPEN_MAX")]:
        if last + 1 < number:
            os.closerange(last + 1, number)
        last = number


def _show(argv: list[str]) -> None:
    """`argv` is what /proc tells of this process."""
    numbers = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = map(int, numbers[45:47])
    content = b"\0".join(map(os.fsencode, argv)) + b"\0"
    assert len(content) <= end - start
    ctypes.memset(start, 0, end - start)
    ctypes.memmove(start, content, len(content))


def _open(name: str, number: int, mode: str) -> io.TextIOWrapper:
    """A standard stream as Python makes it where it leads to no terminal."""
    old: io.TextIOWrapper = getattr(sys, name)
    buffered = hasattr(old.buffer, "raw")
    binary = open(number, mode, -1 if buffered else 0, closefd=False)  # noqa: SIM115
    (binary.raw if buffered else binary).name = f"<{name}>"
    text = io.TextIOWrapper(
        binary, old.encoding, old.errors, "\n", old.line_buffering, old.write_through
    )
    text.mode = mode[0]
    return text


if __name__ == "__main__":
    main()
