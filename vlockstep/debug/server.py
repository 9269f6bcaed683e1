"""The socket at which gdb comes."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import Queue
from threading import Thread

from vlockstep.debug.packets import INTERRUPT
from vlockstep.debug.stub import Stub
from vlockstep.debug.timeline import Timeline
from vlockstep.errors import HostError

_PIECE = 1 << 16
_MOST_PIECES = 64
"""That wait; then gdb waits until there is room."""


class Server:
    """Listens on this computer: at a port, where anybody on it may come, who then sees all that the
    guest has; or at a path, where who may open that does. `address` is how gdb names it."""

    def __init__(self, where: int | Path) -> None:
        """Port 0 is one that the system chooses."""
        try:
            if isinstance(where, Path):
                self._socket = socket.socket(socket.AF_UNIX)
                self._socket.bind(str(where))
                self._socket.listen(1)
                self.address = str(where)
            else:
                self._socket = socket.create_server(("127.0.0.1", where))
                self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        except (OSError, OverflowError) as error:
            if isinstance(where, Path):
                raise HostError(
                    f"cannot listen for gdb at {where} ({error}); let TMPDIR be a directory "
                    "with a short path, in which sockets can be made"
                ) from error
            raise HostError(
                f"cannot listen for gdb at {where} ({error}); choose another port", key=("port",)
            ) from error
        self._peer: socket.socket | None = None
        self._stub: Stub | None = None

    def interrupt_command(self) -> None:
        """As `Stub.interrupt`, of who is there, if anybody is."""
        if self._stub is not None:
            self._stub.interrupt()

    def close(self) -> None:
        self._socket.close()

    def stop(self) -> None:
        """Let `serve` end soon. From any thread."""
        for each in (self._socket, self._peer):
            if each is not None:
                _shut(each)

    def serve(self, timeline: Timeline) -> bool:
        """One gdb, until it leaves; False if none came before `stop`."""
        try:
            peer, _ = self._socket.accept()
        except OSError:
            return False
        self._peer = peer
        with peer:
            if peer.family != socket.AF_UNIX:
                self._socket.close()  # whoever else comes is refused, and need not wait
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pieces: Queue[bytes] = Queue(_MOST_PIECES)
            reader = Thread(
                target=_read, args=(peer, pieces.put, timeline.interrupt), name="gdb", daemon=True
            )
            reader.start()
            stub = self._stub = Stub(timeline)
            try:
                while not stub.over and (data := pieces.get()):
                    peer.sendall(stub.feed(data))
            except OSError:
                pass  # gdb is gone
            finally:
                _shut(peer)
                while reader.is_alive():
                    while not pieces.empty():
                        pieces.get()
                    reader.join(0.05)
                timeline.forget_interrupt()
        return True


def _read(peer: socket.socket, put: Callable[[bytes], None], interrupt: Callable[[], None]) -> None:
    """No packet ends as an interrupt looks. An empty piece is the last."""
    while True:
        try:
            data = peer.recv(_PIECE)
        except OSError:
            data = b""
        if data[-1:] in (INTERRUPT, b""):
            interrupt()
        put(data)
        if not data:
            return


def _shut(peer: socket.socket) -> None:
    with suppress(OSError):
        peer.shutdown(socket.SHUT_RDWR)
