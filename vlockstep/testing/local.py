"""A pair in one process and in virtual time, driven step by step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vlockstep.ft.timing import Timing
from vlockstep.machine.bundled import open_image
from vlockstep.machine.position import Position
from vlockstep.sim.simulation import Conditions, Simulation


class LocalPair(Simulation):
    """A primary and a secondary of `guest`, protected from the start; see `Simulation`."""

    def __init__(
        self,
        guest: str = "ledger",
        arguments: Sequence[str] = ("--lines=5", "--pause=1", "--work=100"),
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
            tuple(arguments),
            seed=seed,
            memory=memory,
            disk_size=disk_size,
            conditions=Conditions(timings=(timing, timing)) if timing else None,
            crash_at=crash_at,
            logs=logs,
        )
        self.run(lambda: self.primary.happened("started") and self.secondary.state == "FOLLOWING")

    def run_until(self, time: int) -> None:
        """Until the clock `now` stands at `time`, in nanoseconds."""
        self.run(lambda: self.now >= time)

    def run_to_entry(self, entry: int) -> None:
        """Until the primary's guest has made so many entries, or has ended."""
        primary = self.primary
        self.run(lambda: primary.replica.made >= entry or not primary.alive)

    def run_to(self, position: Position) -> None:
        """Until the primary's guest is at or after a position of exits, or has ended."""
        self.run(lambda: self.primary.position >= position or not self.primary.alive)

    def wait_live(self) -> None:
        """Until the secondary is live."""
        self.run(lambda: self.secondary.happened("live"))
        assert self.secondary.happened("live"), f"the secondary is {self.secondary.state}"

    def switchover(self, side: str = "primary") -> None:
        """Ask a replica for a swap of roles, and wait until it happened or cannot happen."""
        before = max(host.generation for host in self.hosts)
        asked = self.host(side)
        replies = asked.count("switchover")
        asked.do("switchover", asked.replica.switch_over)
        self.run(
            lambda: (
                any(h.state == "FOLLOWING" and h.generation > before for h in self.hosts)
                or asked.count("switchover") > replies
            )
        )
