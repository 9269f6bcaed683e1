"""Nobody outlives the demonstration, however it ends: even killed, it leaves no replica behind.

A process of its own reads process ids from a pipe. When the pipe ends, because who held the other
end is gone, it kills them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable


class Guard:
    """Leave the context only when all that was entrusted to it has ended."""

    def __enter__(self) -> Guard:
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", __file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            from vlockstep.errors import HostError  # not for the process, which has no packages

            raise HostError(f"cannot start a process for the demo: {error.strerror}") from error
        return self

    def watch(self, pid: int) -> None:
        """Kill this child if this process dies."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"%d\n" % pid)
        self._process.stdin.flush()

    def __exit__(self, *_exception: object) -> None:
        assert self._process.stdin is not None
        self._process.kill()
        self._process.stdin.close()
        self._process.wait()


def _killer(pid: int) -> Callable[[], None]:
    """Kills this very process, not one that has got its number since, where the host can tell."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            handle = os.pidfd_open(pid)
            return lambda: signal.pidfd_send_signal(handle, signal.SIGKILL)
    return lambda: os.kill(pid, signal.SIGKILL)


def _main() -> None:
    killers = [_killer(int(line)) for line in sys.stdin.buffer]
    for kill in killers:
        with contextlib.suppress(ProcessLookupError):
            kill()


if __name__ == "__main__":
    _main()
