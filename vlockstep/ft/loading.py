"""The state of a running guest where it arrives: at a replica that joins."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from vlockstep.ft.diskcopies import DiskLoading
from vlockstep.ft.gueststate import GuestState
from vlockstep.ft.transfer import PIECE, expect_pieces
from vlockstep.machine.interface import GuestMemory
from vlockstep.protocol.messages import Blocks, Message, Pages, Rest, Took
from vlockstep.wire.codec import MessageError


class Loading:
    """Takes the RAM of a guest that comes in pieces, and with `disks` what is theirs. `answer` gets
    what the primary is told."""

    def __init__(
        self,
        memory: GuestMemory,
        answer: Callable[[Message], None],
        disks: DiskLoading | None = None,
    ) -> None:
        expect_pieces()
        self._memory = memory
        self._answer = answer
        self._disks = disks
        self._count = self._told = 0
        self._written = 0
        self._unwritten: deque[int] = deque()
        """The numbers of `Blocks` that are on their way to a disk."""

    def take(self, piece: Pages | Blocks) -> None:
        """Raises `MessageError` if it is not the next piece, or not of this guest, and
        `VlockstepError` if it cannot be taken."""
        if piece.number != self._count:
            raise MessageError("pages of a guest that do not follow those before")
        if isinstance(piece, Blocks):
            if self._disks is None:
                raise MessageError("blocks of a disk that is not there")
            self._disks.take(piece)
            self._unwritten.append(piece.number)
        else:
            self._take_pages(piece)
        self._count += 1
        self.look()

    def look(self) -> None:
        """Tell what was taken since. Raises `VlockstepError` if a disk cannot be filled."""
        if self._disks is not None:
            if self._disks.failure is not None:
                raise self._disks.failure
            if not self._disks.emptied:
                return  # whoever has all its answers sends the rest
            written = self._disks.written
            while self._written < written:
                self._unwritten.popleft()
                self._written += 1
        taken = self._unwritten[0] if self._unwritten else self._count
        if taken > self._told:
            self._told = taken
            self._answer(Took(taken))

    def complete(self, rest: Rest) -> GuestState:
        """Raises `MessageError` if a piece is missing, or the rest is malformed."""
        unready = self._unwritten or (self._disks is not None and not self._disks.emptied)
        if rest.pages != self._count or unready:
            raise MessageError("a guest's state of which pages are missing")
        if self._disks is not None:
            self._disks.complete()
        return GuestState.unpack(rest.next, rest.content)

    def _take_pages(self, pages: Pages) -> None:
        if pages.address + pages.size > self._memory.size:
            raise MessageError("pages of a guest that do not follow those before")
        if pages.size > PIECE:
            raise MessageError("more pages of a guest than come at once")
        content = pages.content or bytes(pages.size)
        if len(content) < pages.size:
            content = _unpacked(content, pages.size)
        if len(content) != pages.size:
            raise MessageError("pages of a guest that are not as long as they say")
        self._memory.fill(pages.address, content)


def _unpacked(content: bytes, size: int) -> bytes:
    """Raises `MessageError` if it is not that."""
    from zstandard import ZstdDecompressor, ZstdError, frame_content_size

    try:
        if frame_content_size(content) != size:
            raise MessageError("pages of a guest that are not as long as they say")
        return ZstdDecompressor().decompress(content, max_output_size=size)
    except ZstdError as error:
        raise MessageError(f"pages of a guest that are packed wrongly ({error})") from error
