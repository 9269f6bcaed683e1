"""A pair in one process and in virtual time, driven step by step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vlockstep.errors import HostError, UsageError
from vlockstep.machine.bundled import open_image
from vlockstep.machine.position import Position
from vlockstep.machine.registers import Registers
from vlockstep.machine.world import Outcome
from vlockstep.program.tracebacks import hide
from vlockstep.protocol.timing import Timing
from vlockstep.replay.script import parse_goal
from vlockstep.sim.host import SimulatedHost
from vlockstep.sim.sides import Side, check_side
from vlockstep.sim.simulation import Conditions, Simulation
from vlockstep.testing.pair import Statuses
from vlockstep.testing.process import PairError, generations
from vlockstep.testing.words import words

__tracebackhide__ = hide

_KILLED = -9


_USUAL = {"ledger": ("--lines=5", "--pause=1", "--work=100")}
"""Arguments of a guest that is given none."""


class LocalPair(Simulation):
    """A primary and a secondary of `guest`, protected from the start, in virtual time.

    A SIDE is "primary" or "secondary": the replica, by the role it began in. A DIRECTION is
    "to_primary", "to_secondary" or "both".

    - driving it: `run`, `run_to`, `run_to_entry`, `run_until`, `step`
    - what happens to it: `crash`, `pause`, `resume`, `diverge` (SIDE); `cut` (DIRECTION), `heal`,
      `drop`; `switchover` (SIDE)
    - waiting: `wait_live` (SIDE), `wait_finished`
    - what became of it: `transcript`, `disk`, `log`, `events`, `registers`, `memory_digest`,
      `memory` (SIDE)

    `Pair` has the same methods, but those that drive it, for real processes. `primary` and
    `secondary` are the `SimulatedHost`s, for tests that look closer; the arguments are those of
    `Simulation`.
    """

    def __init__(
        self,
        guest: str = "ledger",
        arguments: Sequence[str] | None = None,
        *,
        seed: int = 0,
        memory: int = 16,
        disk_size: int = 1 << 16,
        timing: Timing | None = None,
        crash_at: str | None = None,
        logs: Path | None = None,
    ) -> None:
        super().__init__(
            open_image(guest),
            tuple(words(_USUAL.get(guest, ()) if arguments is None else arguments, "arguments")),
            seed=seed,
            memory=memory,
            disk_size=disk_size,
            conditions=Conditions(timings=(timing, timing)) if timing else None,
            crash_at=crash_at,
            logs=logs,
        )
        self.run(lambda: self.primary.happened("started") and self.secondary.state == "FOLLOWING")

    def host(self, name: str) -> SimulatedHost:
        return super().host(check_side(name))

    # Driving

    def run_until(self, time: int) -> None:
        """Until the clock `now` stands at `time`, in nanoseconds."""
        self.run(lambda: self.now >= time)

    def run_to_entry(self, entry: int) -> None:
        """Until the primary's guest has made so many entries, or has ended."""
        primary = self.primary
        self.run(lambda: primary.replica.made >= entry or not primary.alive)

    def run_to(self, place: Position | str) -> None:
        """Until the primary's guest is at a position, or if that lies between two exits at the
        second of them, or has ended. As text: `exits:N`, `exits:N+BLOCKS`, or `entry:N` as
        `run_to_entry`."""
        goal = parse_goal(place) if isinstance(place, str) else place
        if isinstance(goal, Position):
            self.run(lambda: self.primary.position >= goal or not self.primary.alive)
        else:
            self.run_to_entry(goal)

    def switchover(self, side: Side = "primary") -> int:
        """Ask a replica for a swap of roles; the generation that rules then. `HostError` says why
        not."""
        before = max(host.generation for host in self.hosts)
        asked = self.host(side)
        earlier = asked.count("switchover")
        asked.do("switchover", asked.replica.switch_over)

        def swapped() -> bool:
            return any(h.state == "FOLLOWING" and h.generation > before for h in self.hosts)

        self.run(lambda: swapped() or asked.count("switchover") > earlier)
        answers = [e["reason"] for e in asked.events if e["event"] == "switchover"][earlier:]
        refusal = answers[0] if answers else "the pair has ended"
        if refusal and not swapped():
            raise HostError(refusal)
        return max(host.generation for host in self.hosts)

    # Waiting

    def wait_live(self, side: Side = "secondary") -> int:
        """The first generation as which it goes on alone, or as which it took over."""
        host = self.host(side)
        self.run(lambda: next(generations(host.events), None) is not None)
        generation = next(generations(host.events), None)
        if generation is None:
            raise PairError(f"the {side} never goes live: {self._explain()}")
        return generation

    def wait_finished(self) -> Statuses:
        """The exit statuses that processes would have; -9 after a crash."""
        self.run()
        if not self.over:
            raise PairError(
                f"nothing can happen any more, and the pair has not ended: {self._explain()}"
            )
        return Statuses(_status(self.primary), _status(self.secondary))

    # What became of them

    def log(self, side: Side) -> Path:
        """The replica's log file."""
        if self.logs is None:
            raise UsageError("this pair keeps no logs: give it a directory with logs=")
        return self.logs / f"{check_side(side)}.vlog"

    def events(self, side: Side) -> list[dict[str, Any]]:
        """What the replica reported so far."""
        return self.host(side).events[:]

    def registers(self, side: Side) -> Registers:
        """Of the guest where it stands, or where it ended."""
        return self.host(side).registers()

    def memory_digest(self, side: Side) -> bytes:
        """Of the guest where it stands, or where it ended."""
        return self.host(side).memory_digest()

    def memory(self, side: Side, address: int, length: int) -> bytes:
        """Bytes of the guest's RAM."""
        return self.host(side).guest.memory.peek(address, length)

    def _explain(self) -> str:
        return "; ".join(
            f"the {host.name} is {'crashed' if host.crashed else host.state}"
            f"{', paused' if host.paused else ''}, {host.outcome or 'without an end'}"
            for host in self.hosts
        )


def _status(host: SimulatedHost) -> int:
    end = host.outcome
    if host.crashed or end is None:
        return _KILLED
    return end.status if isinstance(end, Outcome) else end.exit_status
