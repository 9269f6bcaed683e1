"""Who may follow a primary whose guest has not begun, or that it knows."""

from __future__ import annotations

from dataclasses import dataclass

from vlockstep.protocol.messages import Hello


@dataclass(frozen=True)
class Admission:
    """A primary runs the image with the digest `image`, its arbiter calls the guest `guest`, and it
    waits for so many `secondaries`."""

    image: str
    guest: str
    secondaries: int

    def objection(self, hello: Hello, *, known: bool, alone: bool, room: bool) -> str:
        """Why somebody cannot follow, or "". `known`: it does already; `alone`: the primary has
        gone on without others; there is `room` for one more."""
        if hello.image != self.image:
            return (
                f"the primary runs the image {self.image[:12]}, "
                f"the secondary has {hello.image[:12]}; start both with the same image"
            )
        if not known and alone:
            return "the primary has gone on alone; this replica cannot follow"
        if not known and not room:
            others = "another secondary follows" if self.secondaries == 1 else "others follow"
            return f"{others} this primary"
        if hello.guest != self.guest:
            return "its arbiter is not the primary's; give both the same directory"
        if self.secondaries > 1 and not hello.endpoint:
            return "it says not where other secondaries reach it; let it listen somewhere"
        return ""
