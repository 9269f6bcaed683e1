"""Running a guest to its end, from a command.

The engine does not notice signals while it executes, so the guest has a thread of its own and the
main thread waits for it. Handlers only pass the signal on: nothing is interrupted halfway. A guest
that is still executing when its command ends is left behind, and goes down with the process;
therefore no command closes its machine.
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any, Literal

from vlockstep.cli.guestthread import GUEST_THREAD
from vlockstep.cli.signals import signals_to
from vlockstep.machine.machine import Machine
from vlockstep.machine.position import Position
from vlockstep.machine.registers import Registers
from vlockstep.machine.report import GuestError, disassemble
from vlockstep.machine.world import Cause, Outcome, Stop, World

_TICK = 0.5


@dataclass(frozen=True)
class Ending:
    """Where and how an execution ended: the guest halted with a `status`, or made an `error`, or
    was stopped before. `code` is a disassembly around RIP in the latter cases."""

    end: Literal["halt", "error", "until", "log"]
    position: Position
    registers: Registers
    memory_digest: bytes
    status: int | None = None
    error: GuestError | None = None
    code: str = ""
    core: Path | None = None
    core_problem: str = ""

    def __str__(self) -> str:
        match self.end:
            case "halt":
                what = f"the guest halted with status {self.status}"
            case "error":
                what = str(self.error)
            case "until":
                what = "stopped"
            case "log":
                what = "the log ends before the guest"
        problem = f"; {self.core_problem}" if self.error and self.core_problem else ""
        return f"{what}, at {self.position}{problem}"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "end": self.end,
            "status": self.status,
            "reason": self.error.reason if self.error else "",
            "position": str(self.position),
            "registers": self.registers.to_dict(),
            "registers_digest": self.registers.digest().hex(),
            "memory_digest": self.memory_digest.hex(),
            "code": self.code.splitlines(),
            "core": self.core and str(self.core),
            "core_problem": self.core_problem,
        }


Interruptions = queue.SimpleQueue[BaseException | None]
"""What is put there is raised where a guest is waited for."""


def execute(
    machine: Machine,
    world: World,
    tick: Callable[[], None] = lambda: None,
    events: Interruptions | None = None,
) -> Ending:
    """Run the guest, calling `tick` twice a second, until it ends or is to stop.

    Signals that ask this process to end raise `KeyboardInterrupt` or `SystemExit`.
    """
    events = Interruptions() if events is None else events
    result: Future[Ending] = Future()

    def body() -> None:
        try:
            result.set_result(_run(machine, world))
        except BaseException as error:
            result.set_exception(error)
        finally:
            events.put(None)

    thread = Thread(target=body, name=GUEST_THREAD, daemon=True)
    with signals_to(events.put):
        thread.start()
        while True:
            try:
                event = events.get(timeout=_TICK)
            except queue.Empty:
                tick()
                continue
            if event is not None:
                raise event
            thread.join()
            return result.result()


def _run(machine: Machine, world: World) -> Ending:
    outcome: Outcome | Stop
    error: GuestError | None = None
    try:
        outcome = machine.run(world)
    except GuestError as raised:
        outcome, error = raised.outcome, raised
    if isinstance(outcome, Stop):
        return _stopped(machine, outcome)
    core, problem = (error.core, error.core_problem) if error else (None, "")
    if outcome.aborted:
        core, problem = machine.dump_core(outcome.registers)
    return Ending(
        "error" if error else "halt",
        outcome.position,
        outcome.registers,
        outcome.memory_digest,
        outcome.status,
        error=error,
        code=error.code if error else "",
        core=core,
        core_problem=problem,
    )


def _stopped(machine: Machine, stop: Stop) -> Ending:
    """With the guest's state where it stands."""
    registers = machine.registers()
    core, problem = machine.dump_core(registers)
    return Ending(
        "until" if stop.cause is Cause.REQUEST else "log",
        stop.position,
        registers,
        machine.memory.digest(),
        code=disassemble(registers["rip"], machine.read_virtual, machine.image.symbol),
        core=core,
        core_problem=problem,
    )
