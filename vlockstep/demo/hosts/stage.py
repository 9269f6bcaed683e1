"""Lets it happen: starts the hosts and their guests, strikes one host, and waits for the rest."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from vlockstep.cluster.model import Role
from vlockstep.cluster.records import RuleRecord
from vlockstep.demo.guard import Guard
from vlockstep.demo.hosts.plan import SERVER, SERVER_MAC, Deed, HostsPlan
from vlockstep.demo.hosts.screens import Quiet
from vlockstep.demo.hosts.story import HostsStory
from vlockstep.demo.network import Network
from vlockstep.errors import HostError, VlockstepError
from vlockstep.testing import HostCluster

_TICK = 0.05
_PATIENCE = 120.0
"""Seconds for each step."""
_BEFORE, _AFTERWARDS = 4.0, 4.0
"""Seconds for which clients are served before the blow, and when all is well again."""


def perform(
    plan: HostsPlan,
    cluster: HostCluster,
    network: Network,
    guard: Guard,
    screen: Quiet,
) -> HostsStory:
    """The cluster's hosts run, and so does the network. What came of it."""
    stage = _Stage(plan, cluster, network, guard, screen)
    stage.prepare()
    stage.strike()
    stage.recover()
    return stage.story


def options(plan: HostsPlan, directory: Path, network: Network) -> dict[str, list[str]]:
    """Of `vlockstep host`, by host."""
    found = {}
    for host in plan.hosts:
        given = ["--uplink", f"trunk:{network.endpoint}"]
        for name in plan.datastores.get(host, ()):
            path = directory / f"datastore-{name}"
            path.mkdir(parents=True, exist_ok=True)
            given += ["--datastore", f"{name}={path}"]
        found[host] = given
    return found


class _Stage:
    def __init__(
        self,
        plan: HostsPlan,
        cluster: HostCluster,
        network: Network,
        guard: Guard,
        screen: Quiet,
    ) -> None:
        self.story = HostsStory(plan)
        self._plan = plan
        self._cluster = cluster
        self._network = network
        self._guard = guard
        self._screen = screen
        self._watched: set[int] = set()

    def prepare(self) -> None:
        """Every guest runs where it is to, and clients have come."""
        cluster, plan = self._cluster, self._plan
        self._screen.note(f"the hosts are up; {cluster.master} is master")
        for guest in plan.guests:
            settings = dict(guest.file)
            image, arguments = settings.pop("image"), settings.pop("arguments", ())
            cluster.create(guest.name, image, arguments, guest.disks, **settings)
        for number, (name, hosts) in enumerate(plan.places.items()):
            rule = RuleRecord(f"place-{name}", "hosts", number, (name,), hosts)
            cluster.operator.add_rule(rule)
        tasks = [
            cluster.operator.submit("start", guest.name, host=guest.host) for guest in plan.guests
        ]
        for task in tasks:
            cluster.operator.follow(task, lambda _: None)
            self._guard_all()
        self._until(lambda: cluster.members(SERVER) > 1, f"{SERVER}'s protection")
        self._screen.note(self._network.visit(SERVER_MAC))
        self.story.began = time.time()
        began = self.story.began
        self._until(lambda: self._network.answered(began), "the clients' first answers")
        self._for(_BEFORE)

    def strike(self) -> None:
        cluster, host = self._cluster, self._plan.host
        self.story.strike(time.time())
        match self._plan.deed:
            case Deed.KILL:
                cluster.kill(host)
            case Deed.ISOLATE:
                cluster.cut(host)
            case Deed.MAINTENANCE:
                cluster.operator.submit("maintenance", host, on=True)

    def recover(self) -> None:
        """All that is to run does so again, elsewhere, and clients are served."""
        self._until(self._recovered, "all guests to run again")
        well = time.time()
        self._until(lambda: self._network.answered(well), "the clients' answers")
        self._for(_AFTERWARDS)
        self._network.dismiss()
        self._until(lambda: self._network.left, "the clients to leave")

    def _recovered(self) -> bool:
        story, plan = self.story, self._plan
        struck = [story.primary(name) for name in plan.struck]
        if any(span is None or span.host == plan.host for span in struck):
            return False
        roles = {span.role for span in story.running(SERVER)}
        where = {span.host for span in story.running(SERVER)}
        elsewhere = story.master != plan.host
        return roles == {Role.PRIMARY, Role.SECONDARY} and len(where) > 1 and elsewhere

    def _until(self, true: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _PATIENCE
        while True:
            self._look()
            with suppress(VlockstepError):
                if true():
                    return
            if time.monotonic() > deadline:
                raise HostError(f"waited for {what} in vain, for {_PATIENCE:.0f} s")
            time.sleep(_TICK)

    def _for(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._look()
            time.sleep(_TICK)

    def _look(self) -> None:
        operator, story, now = self._cluster.operator, self.story, time.time()
        with suppress(VlockstepError):
            story.see(now, operator.reports(), {*operator.orders()})
            status = operator.status()
            if status is not None:
                story.status(now, status.master, status.hosts)
            story.hear(operator.events())
        self._guard_all()
        self._screen.update(story, self._network)

    def _guard_all(self) -> None:
        for host in self._plan.hosts:
            for pid in self._cluster.pids(host).values():
                if pid not in self._watched:
                    self._watched.add(pid)
                    self._guard.watch(pid)
