"""Stops Unicorn before the instructions that it may get wrong, which are looked for in each block
when that is translated: a stop within that hook takes effect before the block is begun, or counted,
so that it can be translated once more with hooks."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable
from typing import Any

from unicorn import unicorn_const as uc_const
from unicorn.unicorn_py3.unicorn import uclib

from vlockstep.machine.blockcounter import HOOK
from vlockstep.machine.errata.finder import find, find_exchanges, find_in_block
from vlockstep.machine.unicorncpu import check

_TRANSLATED = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p
)
_BLOCK = struct.Struct("<QxxH")
"""Of a translated block: address and size."""
_MOST = 4096
"""So many are watched at a time."""


class ErrataHooks:
    """Those of the CPU `uc`. `install` makes a hook of a kind, a function and an address, `read`
    gives the code at an address, and `erratum` is called as `Exits.erratum`."""

    def __init__(
        self,
        uc: Any,
        install: Callable[..., ctypes.c_size_t],
        read: Callable[[int, int], bytes],
        erratum: Callable[[int, bool], None],
    ) -> None:
        self.found = False
        """The CPU has stopped since the hooks are others now: it is to go on."""
        self._uc, self._handle = uc, uc._uch
        self._install, self._read, self._tell = install, read, erratum
        self._watched: set[int] = set()
        self._beginnings: set[int] = set()
        self._begun: int | None = None
        """Where a block has begun with an erratum that is still to come."""
        self._outdated = False
        """A hook stands where code was before that needs none any more."""
        self._hooks: list[ctypes.c_size_t] = []
        self._beginning_hook, self._erratum_hook = HOOK(self._on_beginning), HOOK(self._on_erratum)
        self._translated_hook = _TRANSLATED(self._on_translated)
        install(uc_const.UC_HOOK_EDGE_GENERATED, self._translated_hook)

    def begin(self, address: int, code: bytes) -> None:
        """Before the CPU has executed anything, where it is to begin."""
        self._watch(address, code, find(code))

    def go_on(self) -> None:
        """Before the CPU runs."""
        if self._outdated:
            self.forget()
        self.found, self._begun = False, None

    def _watch(self, address: int, code: bytes, offsets: set[int]) -> bool:
        """Tell of what is executed there, in blocks that are not translated yet. Whether there are
        any that were not watched."""
        found = {address + offset for offset in offsets} - self._watched
        begun = {address + offset for offset in offsets & find_exchanges(code)} - self._beginnings
        for kind, hook, places in (
            (uc_const.UC_HOOK_CODE, self._erratum_hook, found),
            (uc_const.UC_HOOK_BLOCK, self._beginning_hook, begun),
        ):
            self._hooks += [self._install(kind, hook, first=at, last=at) for at in places]
        self._watched |= found
        self._beginnings |= begun
        return bool(found or begun)

    def forget(self) -> None:
        """Hooks cut blocks short: which there are must follow from the code alone, and not from
        what was executed before. They come again as blocks are translated anew."""
        for hook in self._hooks:
            check(uclib.uc_hook_del(self._handle, hook), "remove a hook")
        self._hooks.clear()
        self._watched.clear()
        self._beginnings.clear()
        self._outdated = False
        self._uc.ctl_flush_tb()

    def _on_beginning(self, _engine: int, address: int, _size: int, _data: int) -> None:
        self._begun = address

    def _on_erratum(self, _engine: int, address: int, _size: int, _data: int) -> None:
        begun, self._begun = self._begun, None
        self._tell(address, begun == address)

    def _on_translated(self, _engine: int, block: int, _previous: int, _data: int) -> None:
        address, size = _BLOCK.unpack(ctypes.string_at(block, _BLOCK.size))
        code = self._read(address, size)
        found = find_in_block(code)
        watched = self._watched and self._watched.intersection(range(address, address + size))
        gone = watched - {address + offset for offset in found}
        if gone or len(self._watched) > _MOST:
            self._outdated = self.found = True
            uclib.uc_emu_stop(self._handle)
        elif found and self._watch(address, code, found):
            self.found = True
            self._uc.ctl_remove_cache(address, address + size)
            uclib.uc_emu_stop(self._handle)
