"""Who may follow a primary, or join its guest that runs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from vlockstep.machine.basis import Basis, disagreement, processor_of, running_on
from vlockstep.protocol.messages import Hello

MOST = 7
"""Secondaries of a primary."""


@dataclass(frozen=True)
class Admission:
    """A primary runs the image with the digest `image`, its arbiter calls the guest `guest`, and it
    waits for so many `secondaries`. What it computes rests on `basis`."""

    image: str
    guest: str
    secondaries: int
    basis: Basis

    def objection(
        self, hello: Hello, others: Collection[Basis], *, known: bool, room: bool, many: bool
    ) -> str:
        """Why somebody cannot follow beside `others`, or "". `known`: it does already; there is
        `room` for one more; with it there are so `many` that they have to find each other."""
        if hello.image != self.image:
            return (
                f"the primary runs the image {self.image[:12]}, "
                f"the secondary has {hello.image[:12]}; start both with the same image"
            )
        if unlike := disagreement(self.basis, hello.basis, "the primary", "the secondary"):
            return unlike
        there = running_on(self.basis, processor_of(*others))
        if unlike := disagreement(there, hello.basis, "another secondary", "this one"):
            return unlike
        if not known and not room:
            return f"{MOST} others follow this primary, and no more can"
        if hello.guest != self.guest:
            return "its arbiter is not the primary's; give both the same directory"
        if not known and (many or self.secondaries > 1) and not hello.endpoint:
            return "it says not where other secondaries reach it; let it listen somewhere"
        return ""
