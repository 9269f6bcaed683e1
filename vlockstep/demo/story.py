"""What has happened so far: everything that a screen shows and the proof starts from."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from vlockstep.demo.network import Network
from vlockstep.demo.plan import Plan

Name = Literal["A", "B"]
"""Who is who, whatever their roles: A is the primary at first."""
Tone = Literal["", "good", "bad"]
_SILENT = ("the connection to the primary was lost", "the primary does not answer")
_UNPROTECTED = {"waiting", "joining", "alone"}


@dataclass(frozen=True)
class Fate:
    """What became of a replica's process, and when (`time.time`). `exit_status` is None if it was
    only stopped, -9 if it was killed. `tail` is the unfinished line with which the console ended
    then."""

    time: float
    exit_status: int | None
    tail: bytes = b""


@dataclass(frozen=True)
class Moment:
    """`seconds` since the guest started. Of those of one time a `cause` is told before the
    others."""

    seconds: float
    text: str
    tone: Tone = ""
    cause: bool = False


@dataclass
class Player:
    """One replica. `log_rate` is in bytes per second, from the first growth of its log that was
    seen to the last one."""

    pid: int = 0
    status: Mapping[str, Any] = field(default_factory=dict)
    state: str = "starting"
    position: str = ""
    log_rate: float | None = None
    log_since: tuple[float, int] | None = None
    """Time and bytes at that first growth."""


class Story:
    """Events and fates, as they come, made into moments."""

    def __init__(self, plan: Plan, network: Network | None = None) -> None:
        self.plan = plan
        self.network = network
        self.players: dict[Name, Player] = {"A": Player(), "B": Player()}
        self.moments: list[Moment] = []
        self.began: float | None = None
        self.now = 0.0
        self.fault: Fate | None = None
        """What the planned fault did to A; None as long as it has not struck."""
        self.live: Mapping[str, Any] | None = None
        self.finished: Mapping[str, Any] | None = None
        """How the guest ended, as B saw it."""
        self.over: float | None = None
        """When it ended, or was ended since its clients had left."""
        self.max_lag: tuple[int, float] = (0, 0.0)
        """Entries and milliseconds."""
        self.ended: set[Name] = set()
        """Whose fate is known."""
        self._seen: dict[Name, int] = {"A": 0, "B": 0}
        self._blow = 0.0
        """When the fault is told to have struck."""
        self._silent: float | None = None
        """When B heard nothing of A any more."""

    @property
    def seconds(self) -> float:
        return self.now - self.began if self.began is not None else 0.0

    @property
    def struck(self) -> float | None:
        """When the fault struck. On a busy machine B may notice it before we do: A was dead when
        its connection ended or it did not answer, unless it gave a sign of life after that."""
        if self.fault is None:
            return None
        silent, alive = self._silent, self.players["A"].status.get("time", 0.0)
        seen = self.fault.time
        return seen if silent is None or silent < alive else min(seen, silent)

    @property
    def failover(self) -> float | None:
        """Milliseconds from the fault to live."""
        if self.struck is None or self.live is None:
            return None
        return float(self.live["time"] - self.struck) * 1000

    @property
    def lag(self) -> tuple[int, float] | None:
        """How far B is behind A, in entries and milliseconds; None while nobody follows."""
        status = self.players["A"].status
        if self.fault or self.finished or status.get("state", "waiting") in _UNPROTECTED:
            return None
        return int(status["lag_entries"]), float(status["lag_ms"])

    @property
    def ahead(self) -> str:
        """What is still to come of the fault; empty when it has struck, or cannot any more."""
        status = self.players["A"].status
        if self.fault or self.over or self.began is None or not status or "A" in self.ended:
            return ""
        return f"{self.plan.ahead(status, self.seconds)} until A is {self.plan.deed}"

    @property
    def refusal(self) -> int | None:
        """The status of a guest that ended by itself as if it had not been wanted, before anything
        was done to it."""
        status = self.finished["status"] if self.finished else 0
        return status if self.fault is None and status else None

    def introductions(self) -> list[str]:
        """Who is who."""
        a, b = self.players["A"].pid, self.players["B"].pid
        return [
            f"A is process {a}, the primary: it runs the guest, and tells B what comes in",
            f"B is process {b}, the secondary: it executes the same, and nobody sees it",
        ]

    def hear(self, who: Name, events: list[dict[str, Any]]) -> None:
        """All events of a replica; those that are new count."""
        for event in events[self._seen[who] :]:
            self._event(who, event)
        self._seen[who] = len(events)

    def see(self, who: Name, status: Mapping[str, Any]) -> None:
        """The last status of a replica; what it says after it was stopped or ended is old."""
        player = self.players[who]
        if not status or status == player.status or who in self.ended:
            return
        self._see_log(player, status)
        player.status = status
        self.now = max(self.now, status["time"])
        if player.state != "finished":
            player.state = status["state_text"]
            player.position = f"exits:{status['exits']}"
        if self.lag is not None:
            self.max_lag = max(self.max_lag[0], self.lag[0]), max(self.max_lag[1], self.lag[1])

    def end(self, who: Name, fate: Fate) -> None:
        """A replica was stopped, or ended."""
        self.ended.add(who)
        player = self.players[who]
        paused = fate.exit_status is None
        number = signal.SIGSTOP if paused else -(fate.exit_status or 0)
        if number > 0:
            name = signal.Signals(number).name
            player.state = f"paused ({name})" if paused else f"killed ({name})"
        elif player.state != "finished":
            dismissed = self.network is not None and self.over is not None
            player.state = "ended" if dismissed else f"exited with status {fate.exit_status}"
        if who == "A" and number == self.plan.signal:
            self.fault = fate
            what = f"A is {self.plan.deed} at {self.plan.place}{_after(fate.tail)}"
            self._blow = self.struck or fate.time
            self.tell(self._blow, what, "bad", cause=True)
        elif player.state not in ("finished", "ended"):
            self.tell(fate.time, f"{who}: {player.state}", "bad")
        if who == "A":
            self._tell_live()

    def dismiss(self, time: float) -> None:
        """The clients have left, and the guest is no longer needed."""
        self.over = time
        self.tell(time, "the clients have left; the guest is ended")

    def tell(self, time: float, text: str, tone: Tone = "", *, cause: bool = False) -> None:
        """What happened then, where it belongs among what else has happened."""
        began = time if self.began is None else self.began
        self.moments.append(Moment(max(0.0, time - began), text, tone, cause))
        self.moments.sort(key=lambda moment: (moment.seconds, not moment.cause))

    def _effect(self, time: float, text: str, tone: Tone = "") -> None:
        """What follows from the fault comes after it, whoever knew of it first."""
        self.tell(max(time, self._blow), text, tone)

    def _tell_live(self) -> None:
        """Once B is live and A's fate is known, of which we may hear later: it took so long."""
        if self.live is None or "A" not in self.ended:
            return
        later = f", {self.failover:.0f} ms later" if self.failover is not None else ""
        what = f"B is live as generation {self.live['generation']}{later}"
        self._effect(self.live["time"], what, "good")

    def _see_log(self, player: Player, status: Mapping[str, Any]) -> None:
        size, time = status["log_bytes"], status["time"]
        if self.began is None or size == player.status.get("log_bytes", 0):
            return
        if player.log_since is None:
            player.log_since = time, size
        elif time > player.log_since[0]:
            player.log_rate = (size - player.log_since[1]) / (time - player.log_since[0])

    def _event(self, who: Name, event: Mapping[str, Any]) -> None:
        match event["event"]:
            case "started" if who == "A":
                self.began = event["time"]
                self.tell(event["time"], "A runs the guest")
            case "started":
                self.tell(event["time"], "B follows: it executes the same, a moment later")
            case "notice":
                if who == "B" and event["text"] in _SILENT:
                    self._silent = event["time"]
                told = self._effect if who == "B" else self.tell
                told(event["time"], f"{who}: {event['text']}")
            case "alone":
                told = self._effect if who == "B" else self.tell
                told(event["time"], f"{who}: going on alone as generation {event['generation']}")
            case "diverged":
                self.tell(event["time"], f"{who} has diverged", "bad")
            case "stopped":
                self.players[who].state = "stopped"
                self.tell(event["time"], f"{who} stops: {event['reason']}")
            case "live" if who == "B" and self.live is None:
                self.live = event
                self._tell_live()
            case "finished" if self.players[who].state != "finished":
                self.players[who].state = "finished"
                self.players[who].position = event["position"]
                self.now = max(self.now, event["time"])
                if who == "B":
                    self.finished = event
                    self.over = event["time"]
                self.tell(event["time"], f"{who}: the guest ended with status {event['status']}")


def _after(tail: bytes) -> str:
    return f", after “{tail.decode(errors='replace')}”" if tail else ""
