"""Who is master, and which hosts live: the monitor that each host has.

Events are method calls with the current time in nanoseconds of a monotonic clock, that never goes
back; each returns actions. `tick` comes with every heartbeat (`Timing.heartbeat`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set

from vlockstep.cluster.ha.actions import (
    Acquire,
    Action,
    Became,
    Cancel,
    Declare,
    HostState,
    PingAddress,
    PingHost,
    Ready,
    Release,
    Respond,
    Send,
    Watch,
)
from vlockstep.cluster.ha.messages import Candidate, Left, Master, Message, Resigned, Slave, Word
from vlockstep.cluster.ha.peer import Peer
from vlockstep.cluster.ha.states import TRANSITIONS, Availability
from vlockstep.cluster.ha.timing import Timing
from vlockstep.protocol.hearing import Hearing

_SAYS: Mapping[Availability, type[Word]] = {
    Availability.ELECTION: Candidate,
    Availability.ISOLATED: Candidate,
    Availability.MASTER: Master,
    Availability.CONNECTED: Slave,
}


class Monitor:
    """`hosts` are the others of the cluster that are not in maintenance, each with its heartbeat
    datastores; `datastores` those that this host is connected to. It pings `addresses` to see
    whether it is isolated; without any it never says so. It takes no part until `start`."""

    def __init__(
        self,
        me: str,
        hosts: Mapping[str, Iterable[str]],
        *,
        datastores: Iterable[str] = (),
        addresses: Iterable[str] = (),
        timing: Timing,
    ) -> None:
        self.me = me
        self.timing = timing
        self.state = Availability.UNINITIALIZED
        self.master: str | None = None
        self.owned: frozenset[str] = frozenset()
        """The datastores whose guests this master is responsible for."""
        self._datastores = frozenset(datastores)
        self._addresses = tuple(addresses)
        self._hosts = {host: frozenset(where) for host, where in hosts.items()}
        self._peers: dict[str, Peer] = {}
        self._now = 0
        self._since = 0
        """When the state began."""
        self._lost: str | None = None
        """The master whose silence led to this election."""
        self._watched: frozenset[str] = frozenset()
        self._asked: set[str] = set()
        """Datastores that this master was to own, and has not released."""
        self._acquire_at = 0
        self._ready = False
        self._word_at = 0
        """When anybody was heard last."""
        self._contact = Hearing(0, timing.heartbeat)
        """With anybody, or an isolation address."""
        self._responded = False

    @property
    def hosts(self) -> dict[str, Availability]:
        """The states of all other hosts, as this master judges."""
        return {host: peer.state for host, peer in self._peers.items()}

    # Begin and end

    def start(self, now: int) -> list[Action]:
        """Take part, from now on or again after maintenance."""
        assert self.state is Availability.UNINITIALIZED
        self._now = now
        self._peers = {host: Peer(now, self.timing, where) for host, where in self._hosts.items()}
        self._heard_somebody(now)
        self._watched = frozenset()
        return [Declare(False), *self._elect(now)]

    def enter_maintenance(self, now: int) -> list[Action]:
        """Take no part any more. A master hands on: the others elect another."""
        if self.state is Availability.UNINITIALIZED:
            return []
        actions: list[Action] = [Send(host, Left()) for host in self._peers]
        return actions + self._to(now, Availability.UNINITIALIZED)

    # What others say

    def received(self, now: int, sender: str, message: Message) -> list[Action]:
        """A message came from that host. One of a host that is not of the cluster, as far as this
        one has been told, is not heeded."""
        actions = self._begin(now)
        peer = self._peers.get(sender)
        if peer is None or self.state is Availability.UNINITIALIZED:
            return actions
        self._heard_somebody(now)
        if self.state is Availability.ISOLATED:
            actions += self._elect(now)
        match message:
            case Left():
                peer.forget(now)
                peer.left = True
                actions += self._master_gone(now, sender)
            case Resigned():
                actions += self._master_gone(now, sender)
            case _:
                peer.said(now, message)
                actions += self._heed(now, sender, message)
        return actions + self._judge(now, sender)

    def _heed(self, now: int, sender: str, word: Word) -> list[Action]:
        match word:
            case Master(hears=True) if self.state is Availability.ELECTION:
                return self._follow(now, sender)
            case Master(datastores, hears=True) if self.state is Availability.MASTER:
                if (datastores, sender) > self._rank:
                    return [*self._resign(), *self._follow(now, sender)]
            case Candidate() if self.state is Availability.MASTER:
                return [self._say(sender)]
            case Candidate():
                return self._master_gone(now, sender)
            case Slave() if self.state is not Availability.MASTER:
                return [Send(sender, Resigned())]
        return []

    def _master_gone(self, now: int, host: str) -> list[Action]:
        """The host is not master, as it says itself."""
        return self._elect(now) if self.master == host else []

    # What computers and datastores tell

    def host_answered(self, now: int, host: str) -> list[Action]:
        """It answered a ping."""
        actions = self._begin(now)
        if host in self._peers:
            self._peers[host].answered(now)
        return actions + self._judge(now, host)

    def address_answered(self, now: int, address: str) -> list[Action]:
        """An isolation address answered a ping."""
        actions = self._begin(now)
        if address not in self._addresses or self.state is Availability.UNINITIALIZED:
            return actions
        self._contact.heard(now)
        return actions + (self._elect(now) if self.state is Availability.ISOLATED else [])

    def storage_read(
        self, now: int, host: str, datastore: str, counter: int | None, isolated: bool
    ) -> list[Action]:
        """What stands in the host's files on the datastore: the counter of its heartbeats, None if
        there is no such file, and whether its poweron file says that it is isolated. A datastore or
        a file that cannot be read is no event."""
        actions = self._begin(now)
        if host in self._watched and datastore in self._datastores:
            self._peers[host].read(now, datastore, counter, isolated)
        return actions + self._judge(now, host)

    def datastore_connected(self, now: int, datastore: str) -> list[Action]:
        actions = self._begin(now)
        self._datastores |= {datastore}
        if self.state is Availability.MASTER:
            actions += self._acquire({datastore})
        return actions

    def datastore_lost(self, now: int, datastore: str) -> list[Action]:
        """This host is not connected to it any more."""
        actions = self._begin(now)
        self._datastores -= {datastore}
        for peer in self._peers.values():
            peer.cannot_read(datastore)
        return actions + self.ownership_lost(now, datastore)

    def acquired(self, now: int, datastore: str) -> list[Action]:
        """The lock of its protectedlist was taken."""
        actions = self._begin(now)
        if self.state is not Availability.MASTER or datastore not in self._datastores:
            return [*actions, Release(datastore)]
        self.owned |= {datastore}
        return actions

    def ownership_lost(self, now: int, datastore: str) -> list[Action]:
        """The lease ran out, or the lock is another's."""
        actions = self._begin(now)
        self.owned -= {datastore}
        return actions

    # What people do

    def hosts_changed(self, now: int, hosts: Mapping[str, Iterable[str]]) -> list[Action]:
        """The other hosts are these now, those in maintenance left out. Who had none has heard
        nobody and looked for nobody so far, which says nothing."""
        actions = self._begin(now)
        self._hosts = {host: frozenset(where) for host, where in hosts.items()}
        if self.state is Availability.UNINITIALIZED:
            return actions
        if not self._peers:
            self._contact = Hearing(now, self.timing.heartbeat)
        for host in self._peers.keys() - self._hosts.keys():
            del self._peers[host]
        for host, where in self._hosts.items():
            if host in self._peers:
                self._peers[host].change_datastores(where)
            else:
                self._peers[host] = Peer(now, self.timing, where)
        gone = self.master is not None and self.master not in {self.me, *self._peers}
        if gone or (self.state is Availability.ISOLATED and not self._peers):
            actions += self._elect(now)
        return actions + self._watch(now)

    # Time

    def tick(self, now: int) -> list[Action]:
        actions = self._begin(now)
        for peer in self._peers.values():
            peer.look(now)
        match self.state:
            case Availability.ELECTION:
                actions += self._choose(now)
            case Availability.CONNECTED:
                actions += self._look_for_master(now)
            case Availability.ISOLATED:
                actions += self._look_around(now)
        if self.state is Availability.MASTER:
            actions += self._rule(now)
        return actions + self._watch(now) + self._words()

    def _choose(self, now: int) -> list[Action]:
        """End the election, unless a better candidate is there: it will tell when it is master."""
        if now - self._since < self.timing.election:
            return []
        if any(
            isinstance(peer.word, Candidate)
            and not peer.silent
            and (peer.word.datastores, host) > self._rank
            for host, peer in self._peers.items()
        ):
            return []
        for host, peer in self._peers.items():
            if host != self._lost and (peer.word is None or peer.word_at < self._since):
                peer.left &= peer.word_at >= self._since  # it may have come back, to another master
                peer.forget(now)
        self._contact = Hearing(now, self.timing.heartbeat)
        self._acquire_at, self._ready = now, False
        return self._to(now, Availability.MASTER, self.me)

    def _look_for_master(self, now: int) -> list[Action]:
        assert self.master is not None
        if not self._peers[self.master].silent:
            return []
        return self._elect(now, lost=self.master)

    def _look_around(self, now: int) -> list[Action]:
        """Isolated: respond when it is time; one answer, or word, ends it."""
        actions: list[Action] = [PingAddress(address) for address in self._addresses]
        if not self._responded and now - self._since >= self.timing.isolation_delay:
            self._responded = True
            actions.append(Respond())
        return actions

    def _rule(self, now: int) -> list[Action]:
        """What a master does with every heartbeat."""
        alone = self._contact.silent(now, self.timing.isolation)
        if alone and self._peers and self._addresses:
            return self._isolate(now)
        if not self._datastores and any(
            peer.state is Availability.CONNECTED and peer.word is not None and peer.word.datastores
            for peer in self._peers.values()
        ):
            return [*self._resign(), *self._elect(now)]
        actions: list[Action] = []
        if self._peers and now - self._word_at >= self.timing.heartbeat:
            actions += [PingAddress(address) for address in self._addresses]
        if now >= self._acquire_at:
            self._acquire_at = now + self.timing.storage_heartbeat
            actions += self._acquire(self._datastores - self.owned)
        if not self._ready and now - self._since >= self.timing.takeover:
            self._ready = True
            actions.append(Ready())
        for host, peer in self._peers.items():
            if peer.silent and not peer.left:
                peer.start_pings(now)
                actions.append(PingHost(host))
            actions += self._judge(now, host)
        return actions

    def _words(self) -> list[Action]:
        if self.state is Availability.CONNECTED:
            assert self.master is not None
            return [self._say(self.master)]
        return [self._say(host) for host in self._peers] if self.state in _SAYS else []

    def _say(self, host: str) -> Send:
        word = _SAYS[self.state]
        return Send(host, word(len(self._datastores), self._peers[host].heard))

    def _acquire(self, datastores: Set[str]) -> list[Action]:
        self._asked |= datastores
        return [Acquire(datastore) for datastore in sorted(datastores)]

    # Steps

    def _begin(self, now: int) -> list[Action]:
        """Whoever slept for longer than hosts wait knows nothing that is still true."""
        assert now >= self._now, "time goes back"
        overslept = now - self._now > self.timing.unreachable
        self._now = now
        if not overslept or self.state is Availability.UNINITIALIZED:
            return []
        for peer in self._peers.values():
            peer.forget(now)
        if self.state is Availability.ELECTION:
            self._since, self._lost = now, None
            return self._watch(now)
        return self._elect(now)

    def _elect(self, now: int, lost: str | None = None) -> list[Action]:
        self._lost = lost
        return self._to(now, Availability.ELECTION)

    def _follow(self, now: int, master: str) -> list[Action]:
        return [*self._to(now, Availability.CONNECTED, master), self._say(master)]

    def _resign(self) -> list[Action]:
        return [Send(host, Resigned()) for host in self._peers]

    def _isolate(self, now: int) -> list[Action]:
        self._responded = False
        return [Declare(True), *self._to(now, Availability.ISOLATED)]

    def _to(self, now: int, state: Availability, master: str | None = None) -> list[Action]:
        assert state in TRANSITIONS[self.state], f"{self.state} to {state}"
        actions: list[Action] = []
        if self.state is Availability.MASTER:
            actions += [Release(datastore) for datastore in sorted(self._asked)]
            self._asked.clear()
            self.owned = frozenset()
            for peer in self._peers.values():
                peer.stop_pings()
                peer.state = Availability.UNINITIALIZED
        elif self.state is Availability.ISOLATED:
            actions += [Declare(False), Cancel()]
        if state is not Availability.ELECTION:
            self._lost = None
        self.state, self.master, self._since = state, master, now
        return [*actions, Became(state, master), *self._watch(now)]

    def _judge(self, now: int, host: str) -> list[Action]:
        """What is new about a host, if this is the master. Before others had time to join it judges
        only those that it hears."""
        peer = self._peers.get(host)
        if self.state is not Availability.MASTER or peer is None:
            return []
        state = Availability.UNINITIALIZED if peer.left else peer.judge(now)
        if state is None or state is peer.state or (peer.silent and not self._ready):
            return []
        peer.state = state
        return [HostState(host, state)]

    def _watch(self, now: int) -> list[Action]:
        """A master watches hosts that are quiet; others their master, for they may succeed it."""
        master = self.state is Availability.MASTER
        suspects = self._peers.keys() if master else self._peers.keys() & {self.master, self._lost}
        watched = frozenset(
            host for host in suspects if self._peers[host].quiet(now) and not self._peers[host].left
        )
        for host in self._watched - watched:
            if host in self._peers:
                self._peers[host].unwatch()
        actions: list[Action] = [] if watched == self._watched else [Watch(watched)]
        self._watched = watched
        return actions

    def _heard_somebody(self, now: int) -> None:
        self._word_at = now
        self._contact.heard(now)

    @property
    def _rank(self) -> tuple[int, str]:
        """Who has most of it is elected; of several masters that meet only this one remains."""
        return len(self._datastores), self.me
