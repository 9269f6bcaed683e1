"""`qemu-img`, which reads and writes disks of other formats.

Whatever it is given it comes to an end: without any sign of life, which is output or time that the
process has spent on a processor, it is killed. It has a process group of its own, so that Ctrl-C is
for us alone, and what it was doing is ended, or brought to its end, in order.
"""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from vlockstep.errors import HostError
from vlockstep.files.locks import InUse
from vlockstep.files.processes import processor_time

PATIENCE = 600.0
"""Seconds without a sign of life; a last flush to a slow disk may take some."""
LOOK = 60.0
"""Seconds in which a look at a file must be done."""
_TICK = 0.2
_KILLED = 5.0
_MAX_OUTPUT = 1 << 20
_MAX_ERROR = 400
_LOCKED = re.compile("Failed to get .*lock")
_PERCENT = re.compile(rb"\(\s*(\d+)\.\d+/100%\)")


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class QemuImg:
    """`stop` is called several times a second, and raises what is to end the work; `tell` is told
    how far it is."""

    stop: Callable[[], None] = _nothing
    tell: Callable[[str], None] = lambda text: None

    def look(self, what: str, *arguments: str) -> bytes:
        """What it prints, soon; `what` names the file for people. Raises `HostError` if it fails,
        `InUse` if that is because somebody else uses the file."""
        status, output, error = self._run(arguments, what, "", LOOK)
        return self._checked(what, status, output, error)

    def work(self, what: str, doing: str, *arguments: str) -> None:
        """The same for what may take long; `doing` is told, with a percentage if there is one."""
        status, output, error = self._run(arguments, what, doing, PATIENCE)
        self._checked(what, status, output, error)

    def ask(self, what: str, doing: str, *arguments: str) -> tuple[int, str]:
        """The same with an exit status that tells something, and what it has to say on that."""
        status, _, error = self._run(arguments, what, doing, PATIENCE)
        return status, error

    @staticmethod
    def _checked(what: str, status: int, output: bytes, error: str) -> bytes:
        if status:
            raise HostError(f"{what}: qemu-img failed: {error or f'its exit status is {status}'}")
        return output

    def _run(
        self, arguments: tuple[str, ...], what: str, doing: str, patience: float
    ) -> tuple[int, bytes, str]:
        try:
            process = subprocess.Popen(
                ["qemu-img", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                process_group=0,
                env=os.environ | {"LC_ALL": "C"},
            )
        except FileNotFoundError as error:
            raise HostError(
                "there is no program qemu-img here, which reads and writes disks: install it, on "
                "Debian or Ubuntu with apt install qemu-utils, on Fedora with dnf install qemu-img"
            ) from error
        except OSError as error:
            raise HostError(f"cannot start qemu-img: {error.strerror}") from error
        try:
            output, said = self._follow(process, what, doing, patience)
            status = process.wait(_KILLED)
        except subprocess.TimeoutExpired as error:
            raise HostError(f"{what}: qemu-img does not end") from error
        finally:
            _end(process)
        if status and _LOCKED.search(said):
            raise InUse(f"{what} is in use by QEMU or a guest: end that first")
        if status < 0:
            said = f"it was killed: {signal.strsignal(-status)}"
        return status, output, said

    def _follow(
        self, process: subprocess.Popen[bytes], what: str, doing: str, patience: float
    ) -> tuple[bytes, str]:
        """What it prints on both streams until it has closed them."""
        assert process.stdout is not None and process.stderr is not None
        kept: dict[IO[bytes], bytes] = {process.stdout: b"", process.stderr: b""}
        last_sign, spent, percent = time.monotonic(), 0, ""
        with selectors.DefaultSelector() as selector:
            for stream in kept:
                selector.register(stream, selectors.EVENT_READ)
            while selector.get_map():
                ready = selector.select(_TICK)
                self.stop()
                for key, _ in ready:
                    stream = process.stdout if key.fileobj is process.stdout else process.stderr
                    data = os.read(key.fd, 1 << 16)
                    if not data:
                        selector.unregister(stream)
                    kept[stream] = (kept[stream] + data)[-_MAX_OUTPUT:]
                    if found := _PERCENT.findall(data):
                        percent = f": {int(found[-1])} %"
                if doing:
                    self.tell(doing + percent)
                now = processor_time(process.pid) if doing else 0
                if (ready and doing) or now != spent:
                    last_sign, spent = time.monotonic(), now
                elif time.monotonic() - last_sign > patience:
                    raise HostError(
                        f"{what}: qemu-img has done nothing for {patience:.0f} s; is the file "
                        "damaged, or its file system gone?"
                    )
        return kept[process.stdout], _message(kept[process.stderr])


def _message(error: bytes) -> str:
    """For people, in one line."""
    lines = error.decode(errors="replace").splitlines()
    text = "; ".join(line.removeprefix("qemu-img: ") for line in lines if line.strip())
    return text if len(text) <= _MAX_ERROR else text[: _MAX_ERROR - 1] + "…"


def _end(process: subprocess.Popen[bytes]) -> None:
    """One that hangs in the kernel is left behind."""
    if process.poll() is None:
        process.kill()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_KILLED)
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
