"""All secondaries of a primary."""

from __future__ import annotations

from vlockstep.protocol.actions import NEVER
from vlockstep.protocol.follower import Follower
from vlockstep.protocol.timing import Timing


class Followers(dict[str, Follower]):
    """The primary's side of each secondary, by its instance. Before the guest has begun they are
    those that are to become members, and then all members besides the primary."""

    def __init__(self, timing: Timing) -> None:
        super().__init__()
        self._timing = timing

    @property
    def parted(self) -> bool:
        """The connection to one is lost."""
        return any(follower.parted is not None for follower in self.values())

    @property
    def following(self) -> dict[str, Follower]:
        """Those that are connected, and have said that they follow."""
        return {name: follower for name, follower in self.items() if follower.following}

    @property
    def left(self) -> dict[str, str]:
        """Who has left for good, and why."""
        return {name: follower.left for name, follower in self.items() if follower.left}

    @property
    def unfinished(self) -> dict[str, Follower]:
        """Those that do not know that the guest has ended, as far as anybody can tell."""
        return {name: follower for name, follower in self.items() if not follower.finished}

    @property
    def able(self) -> list[str]:
        """Who can take over, the one last that has executed most."""
        ready = [(f.executed, name) for name, f in self.following.items() if f.ready]
        return [name for _, name in sorted(ready)]

    @property
    def leased_until(self) -> int:
        """Until when none of them goes live."""
        return min([follower.lease_until for follower in self.values()], default=NEVER)

    def received(self, next: int) -> int:
        """All of them have the entries before this one, of those before `next`."""
        return min([follower.received for follower in self.values()], default=next)

    def executed(self, next: int) -> int:
        """All of them have executed the entries before this one."""
        return min((follower.executed for follower in self.values()), default=next)

    def lag(self, now: int) -> int:
        """By how many nanoseconds the execution of one is behind, at the most."""
        return max((follower.lag(now) for follower in self.values()), default=0)

    def slow(self, now: int) -> bool:
        """Whether the guest has to wait for one."""
        return any(follower.slow(now) for follower in self.values())

    def silent(self, now: int, limit: int) -> set[str]:
        """Who has not been heard for `limit` nanoseconds."""
        return {name for name, f in self.items() if f.hearing.silent(now, limit)}

    def gone(self, now: int, patience: int) -> set[str]:
        """Whose connection was lost so long ago."""
        return {
            name
            for name, follower in self.items()
            if follower.parted is not None and now >= follower.parted + patience
        }

    def finish(self, now: int, limit: int) -> None:
        """Nobody waits for who has been silent for so long."""
        for follower in self.values():
            follower.finished = follower.finished or follower.hearing.silent(now, limit)

    def rule(self, now: int, members: tuple[str, ...]) -> None:
        """These are the members from now on."""
        for name in self.keys() - set(members):
            del self[name]
        for follower in self.values():
            follower.rule(now)

    def beats(self) -> list[int]:
        """When each is to be asked whether it is there."""
        interval = self._timing.interval
        return [f.asked + interval for f in self.values() if f.following and not f.finished]

    def due(self, now: int) -> dict[str, Follower]:
        """Those that are to be asked now."""
        interval = self._timing.interval
        return {name: f for name, f in self.following.items() if now - f.asked >= interval}
