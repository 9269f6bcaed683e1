"""Who takes exceptions and interrupts in a guest, and what is wrong if nobody can."""

from __future__ import annotations

from collections.abc import Callable

from vlockstep.machine import exceptions
from vlockstep.machine.engine import Engine
from vlockstep.machine.memory import Memory

_MAX_UNREACHED = 1000
"""How often in a row a handler's first instruction may raise an exception."""
_EXCEPTIONS = 32
"""Vectors below are theirs; others come by INT or from outside."""


class Delivery:
    """Delivers through the guest's IDT. `handler` is where the handler begins that was entered
    last; `unreached` counts how often in a row its first instruction raised an exception. `tell` is
    told of exceptions that a handler takes, and not of interrupts."""

    def __init__(
        self, engine: Engine, memory: Memory, tell: Callable[[exceptions.Taken], None]
    ) -> None:
        self._engine = engine
        self._memory = memory
        self._tell = tell
        self.handler: int | None = None
        self.unreached = 0

    def deliver_exception(self, vector: int) -> str:
        """Deliver the one in flight, as `deliver` does."""
        code, software = self._engine.take_exception()
        with_code = vector in exceptions.WITH_ERROR_CODE and not software
        return self.deliver(vector, code if with_code else None, software)

    def deliver(self, vector: int, code: int | None = None, software: bool = False) -> str:
        """Enter the handler of `vector`, as `exceptions.deliver` does. If that fails, the guest's
        error in words."""
        engine = self._engine
        address = engine["cr2"]
        self.unreached = self.unreached + 1 if engine["rip"] == self.handler else 0
        trouble = "which its handler raises itself, again and again"
        if self.unreached <= _MAX_UNREACHED:
            try:
                taken = exceptions.deliver(engine, self._memory, vector, code, software)
                self.handler = engine["rip"]
                if taken.software or taken.vector < _EXCEPTIONS:
                    self._tell(taken)
                return ""
            except exceptions.TripleFault:
                trouble = "and the guest has no handler that can take it"
        fault = vector == exceptions.PAGE_FAULT and not software
        return f"{exceptions.described(vector, code, address if fault else None)}, {trouble}"
