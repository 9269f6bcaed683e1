"""The simulated cluster with guests of every kind, for pictures and for what they are looked at.

python -m tests.web.page_source --port 7791
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from typing import Any, cast

from tests.web.simulated import TOKENS, SimulatedSource
from vlockstep.web import shapes
from vlockstep.web.model import Picture
from vlockstep.web.serving import listen, serve
from vlockstep.web.story import StorySource

STORIES = ("ledger", "books", "mail", "web", "kv", "queue", "search", "login", "metrics", "shop")


class LivelySource(SimulatedSource):
    """Most guests are protected; a few are alone, unprotected, off, waiting or moving."""

    name = "/shared/lab"

    def __init__(self, hosts: int = 8, guests: int = 1000, wild: bool = False) -> None:
        super().__init__(hosts, guests, wild)
        names = [*self._hosts]
        for number, name in enumerate(names):
            self._hosts[name]["report"] = {
                "time": time.time(),
                "cpu": 40000 * (0.31 + 0.09 * ((number * 5) % 7)),
                "memory": 65536 * (0.4 + 0.06 * ((number * 3) % 8)),
            }
        if hosts > 3:
            down = self._hosts[names[-2]]
            down |= {"state": "hostDown", "explanation": "does not answer", "level": "bad"}
            self._hosts[names[-1]] |= {"maintenance": True, "level": "warn"}
        made = {}
        for number, old in enumerate([*self._guests]):
            guest = cast(dict[str, Any], self._guests[old])
            wanted = (
                old if wild else f"{STORIES[number % len(STORIES)]}-{number // len(STORIES):02}"
            )
            host, partner = self._pair(number, names)
            replicas = _replicas(guest["replicas"], host, partner)
            guest |= {"name": wanted, "host": host, "replicas": replicas} | _state(number, replicas)
            made[wanted] = cast(shapes.Guest, guest)
        self._guests = made
        self._imbalance = 0.24

    def _pair(self, number: int, names: list[str]) -> tuple[str, str]:
        usable = names[:-2] if len(names) > 3 else names
        first = (number * 7 + number // 11) % len(usable)
        return usable[first], usable[(first + 1 + number % (len(usable) - 1)) % len(usable)]

    def look(self) -> Picture:
        self._imbalance = max(0.08, self._imbalance + self._random.uniform(-0.012, 0.011))
        return super().look()

    def guest(self, name: str) -> shapes.Guest:
        return self._guests[name]

    def put(self, guest: shapes.Guest) -> None:
        with self._lock:
            self._guests[guest["name"]] = guest

    def lose(self, name: str) -> None:
        """The guest's secondary."""
        guest = self._guests[name]
        self.put(cast(shapes.Guest, guest | _alone(guest["replicas"])))
        with self._lock:
            self._tell("alone", f"{name} has lost its secondary", name)

    def details(self, guest: str) -> shapes.GuestDetails:
        if self._expect(guest)["replicas"]:
            told = super().details(guest)
            if not self._guests[guest]["ft"]:
                told["actions"] |= {"protect": "", "unprotect": "it is not protected"}
            return told
        with self._lock:
            running = next(name for name, each in self._guests.items() if each["replicas"])
        off = "it is powered off"
        told = super().details(running)
        told |= {"name": guest, "console": off, "generations": [], "samples": []}
        told["actions"] = dict.fromkeys(told["actions"], off) | {"start": ""}
        return told

    def _cluster(self) -> shapes.Cluster:
        cluster = super()._cluster()
        cluster["name"] = "lab"
        assert cluster["status"] is not None
        cluster["status"]["imbalance"] = round(self._imbalance, 4)
        return cluster


def _replicas(old: dict[str, Any], host: str, partner: str) -> dict[str, Any]:
    primary, secondary = old.values()
    rate = 900.0 + 37 * len(host + partner) ** 2
    return {
        host: primary | {"host": host, "log_bytes_per_s": rate},
        partner: secondary | {"host": partner},
    }


def _alone(replicas: Mapping[str, Any]) -> dict[str, Any]:
    host = next(iter(replicas))
    less = {"members": 1, "lag_ms": None, "lag_entries": None}
    state = {"state": "alone", "state_text": "alone"}
    only = {host: replicas[host] | less | state}
    return {"replicas": only, "protection": "ALONE", "level": "bad"}


def _state(number: int, replicas: dict[str, Any]) -> dict[str, Any]:
    alone = _alone(replicas)
    if number % 97 == 3:
        return alone
    if number % 61 == 7:
        return {"replicas": {}, "power": "off", "protection": "off", "level": "plain"}
    if number % 149 == 11:
        why = "no host has room for it"
        return {"replicas": {}, "protection": "waits", "level": "bad", "pending": why}
    if number % 13 == 5:
        only = {
            host: replica | {"role": "unprotected", "state_text": "running"}
            for host, replica in alone["replicas"].items()
        }
        return {"replicas": only, "ft": False, "protection": "unprotected", "level": "plain"}
    if number == 20:
        moving: shapes.Migration = {
            "phase": "memory",
            "text": "sending the memory",
            "bytes": 187_000_000,
            "bytes_per_s": 61_000_000,
            "rounds": 2,
            "lag_entries": 18,
            "throttle": 0,
            "pause_ms": 12.0,
            "left": 41_000_000,
            "to": "host-4",
            "role": "primary",
        }
        return {"migration": moving}
    return {}


def told_story() -> StorySource:
    """A demonstration that is over."""
    player = {"role": "primary", "generation": 2, "position": "exits:5021", "entries": 4100}
    story = {
        "title": ["A ledger of 600 lines, on two replicas", "A will be killed in mid-write"],
        "deed": "killed",
        "seconds": 9.0,
        "ahead": "",
        "over": True,
        "players": {
            "A": player | {"pid": 101, "state": "killed (SIGKILL)", "gone": True},
            "B": player | {"pid": 102, "state": "finished", "gone": False},
        },
        "lag_entries": None,
        "lag_ms": None,
        "struck": 4.0,
        "live": 4.06,
        "failover_ms": 60.0,
        "moments": [{"seconds": 4.0, "text": "A is killed, after half of it", "tone": "bad"}],
        "answers": [
            {"name": f"client {n}", "count": 80, "times": [0.1 * n + i for i in range(9)]}
            | {"trouble": ""}
            for n in range(1, 5)
        ],
        "lines": ["ledger 000599 of all that it has written so far, digest 0123456789abcdef"],
        "checks": [{"name": "end state", "ok": True, "text": "all of its memory is the same"}],
        "hosts": [],
        "spans": [],
        "verdict": {"ok": True, "text": "the guest did not notice", "notes": ["log: 9 bytes"]},
    }
    for player in story["players"].values():  # type: ignore[attr-defined]
        player["log_bytes_per_s"] = 4096.0
    source = StorySource()
    source.tell(cast(shapes.Story, story))
    return source


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--hosts", type=int, default=8)
    parser.add_argument("--guests", type=int, default=1000)
    parser.add_argument("--wild", action="store_true")
    parser.add_argument("--port", type=int, default=0)
    given = parser.parse_args()
    listener = listen("127.0.0.1", given.port)
    address = f"http://127.0.0.1:{listener.getsockname()[1]}/#token={TOKENS.act}"
    source = LivelySource(given.hosts, given.guests, given.wild)
    serve(source, TOKENS, listener, ready=lambda: print(address, flush=True))


if __name__ == "__main__":
    main()
