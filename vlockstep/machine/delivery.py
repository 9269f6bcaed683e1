"""Who takes exceptions and interrupts in a guest, and what is wrong if nobody can."""

from __future__ import annotations

from vlockstep.machine import exceptions
from vlockstep.machine.engine import Engine
from vlockstep.machine.memory import Memory

_MAX_UNREACHED = 1000
"""How often in a row a handler's first instruction may raise an exception."""


class Delivery:
    """Delivers through the guest's IDT. `handler` is where the handler begins that was entered
    last; `unreached` counts how often in a row its first instruction raised an exception."""

    def __init__(self, engine: Engine, memory: Memory) -> None:
        self._engine = engine
        self._memory = memory
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
                exceptions.deliver(engine, self._memory, vector, code, software)
                self.handler = engine["rip"]
                return ""
            except exceptions.TripleFault:
                trouble = "and the guest has no handler that can take it"
        what = exceptions.name(vector)
        if vector == exceptions.PAGE_FAULT and not software:
            what += f" at address {address:#x}"
        if code is not None:
            what += f", error code {code:#x}"
        return f"{what}, {trouble}"
