"""A process of the command that begins as a fork is as one that was executed."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import forking
import pytest

from vlockstep.testing.process import environment


@pytest.fixture(scope="module", autouse=True)
def _as_it_is_here() -> None:
    """Whatever became of the server of this worker."""
    forking.renew()


_NEW_NETWORK = 0x40000000
PROBE = """
import atexit, json, os, signal, sys, threading
from pathlib import Path

def stream(s):
    raw = getattr(s.buffer, "raw", s.buffer)
    return [s.name, s.mode, s.encoding, s.errors, s.newlines, s.line_buffering, s.write_through,
            s.fileno(), str(type(s.buffer)), raw.name, raw.mode, raw.closefd]

atexit.register(lambda: (print("finalised", file=sys.stderr)))
me = Path("/proc/self")
status = dict(line.split(":", 1) for line in (me / "status").read_text().splitlines())
found = {
    "argv": sys.argv, "orig": sys.orig_argv, "path": sys.path, "cwd": os.getcwd(),
    "flags": list(sys.flags), "main": [__name__, __spec__.name, sys.modules["__main__"].__file__],
    "environment": dict(os.environ),
    "cmdline": os.fsdecode((me / "cmdline").read_bytes().rstrip(b"\\0")),
    "comm": (me / "comm").read_text(), "exe": str((me / "exe").readlink()),
    "status": [status[n] for n in ("PPid", "Umask", "SigBlk", "SigIgn", "SigCgt", "Threads")],
    "fds": [n for n in range(1000) if (me / "fd" / str(n)).exists()],
    "handlers": [str(signal.getsignal(n)).partition(" at ")[0] for n in range(1, 32)],
    "streams": [*map(stream, (sys.stdin, sys.stdout, sys.stderr))],
    "session": os.getsid(0) == os.getpid(),
    "itself": [os.getpid() == int((me / "stat").read_text().split()[0]),
               threading.current_thread() is threading.main_thread()],
    "read": sys.stdin.read(),
}
signal.pthread_kill(threading.get_ident(), signal.SIGCONT)
print(json.dumps(found))
sys.exit(int(sys.argv[1]))
"""


@pytest.fixture
def probes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where they are modules."""
    (tmp_path / "probe.py").write_text(PROBE)
    (tmp_path / "waits.py").write_text("import sys\nprint('waits', flush=True)\nsys.stdin.read()\n")
    monkeypatch.setattr(forking, "MODULES", {"probe", "waits"})
    monkeypatch.setattr(subprocess, "Popen", forking.Popen)
    return tmp_path


def forked(process: subprocess.Popen[Any]) -> bool:
    """It alone has mapped what the server had imported."""
    return "unicorn" in Path(f"/proc/{process.pid}/maps").read_text()


def waiting(folder: Path, **options: Any) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-m", "waits"],
        stdin=subprocess.PIPE,
        **{"cwd": folder, "env": environment(), "stdout": subprocess.PIPE} | options,
    )
    if process.stdout is not None:
        assert process.stdout.readline().startswith(b"waits")
    return process


def told(folder: Path, **options: Any) -> tuple[int, dict[str, Any], str]:
    done = subprocess.run(
        [sys.executable, "-m", "probe", "7", "two words", "é\udcff"],
        **{"cwd": folder, "env": environment(), "input": "given"} | options,
        capture_output=True,
        text=True,
    )
    return done.returncode, json.loads(done.stdout), done.stderr


@pytest.mark.parametrize("session", [False, True])
def test_a_fork_is_as_what_is_executed(probes: Path, session: bool) -> None:
    with (probes / "probe.py").open() as file:
        options = {"start_new_session": session, "pass_fds": [file.fileno()]}
        fork = told(probes, **options)
        with forking.executing():
            assert told(probes, **options) == fork
    assert fork[0] == 7 and fork[1]["itself"] == [True, True] and fork[2] == "finalised\n"


def test_a_fork_is_a_child_that_signals_end(probes: Path) -> None:
    with waiting(probes) as first, waiting(probes) as second:
        assert forked(first) and forked(second)
        first.kill()
        assert first.wait() == -signal.SIGKILL and second.poll() is None
        second.send_signal(signal.SIGSTOP)
        assert os.WIFSTOPPED(os.waitpid(second.pid, os.WUNTRACED)[1])
        second.send_signal(signal.SIGCONT)
        assert second.stdin is not None
        second.stdin.close()
        assert second.wait() == 0


def test_what_is_not_usual_is_executed(probes: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_CORE)
    ours, theirs = os.openpty()
    for options in (
        {"env": environment() | {"LC_ALL": "C"}},
        {"umask": 0o77},
        {"process_group": 0},
        {"preexec_fn": lambda: None},
        {"stderr": theirs},
    ):
        with waiting(probes, **options) as process:
            assert not forked(process), options
            process.kill()
    os.close(ours)
    os.close(theirs)
    resource.setrlimit(resource.RLIMIT_CORE, (0, limits[1]))
    try:
        with waiting(probes) as process:
            assert forked(process) == (limits[0] == 0)
            process.kill()
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, limits)


def test_a_thread_elsewhere_starts_processes_there(probes: Path) -> None:
    """The other network of a thread is its children's, whatever the server has."""
    seen: list[tuple[bool, bool]] = []

    def start() -> None:
        if ctypes.CDLL(None).unshare(_NEW_NETWORK) == 0:
            with waiting(probes) as process:
                own = Path("/proc/thread-self/ns/net").readlink()
                there = Path(f"/proc/{process.pid}/ns/net").readlink()
                seen.append((forked(process), there == own))
                process.kill()

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    if not seen:
        pytest.skip("needs to be allowed a network of its own")
    assert seen == [(False, True)]
