"""A replica as a process: what it makes of an arbiter."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import zmq
from support import sample

from vlockstep.arbiter import ArbiterError, Record
from vlockstep.errors import HostError
from vlockstep.ft.channels import Channels
from vlockstep.ft.events import Event, Notice
from vlockstep.ft.guest import Guest
from vlockstep.ft.handoff import EntryOutbox
from vlockstep.ft.process import Process, _Network
from vlockstep.ft.replica import Replica
from vlockstep.ft.resumedir import ResumeDirectory, Unresumable
from vlockstep.ft.runtime import Setting
from vlockstep.ft.transfer import Transfer
from vlockstep.host.devices import ConsoleFile
from vlockstep.host.live import LiveWorld
from vlockstep.machine.basis import basis
from vlockstep.machine.config import GuestConfig
from vlockstep.machine.machine import Machine
from vlockstep.machine.world import Outcome
from vlockstep.protocol.actions import NEVER, Claim
from vlockstep.protocol.messages import Answer, Hello, forbidden
from vlockstep.protocol.primary import Primary
from vlockstep.replay.entry import Entry, Kind
from vlockstep.wire import channel
from vlockstep.wire.channel import Arrived

OTHER = Record(2, "other", ("other",))
ALONE = Record(1, "me", ("me",))


class Arbiter:
    """Answers with these, in turn."""

    def __init__(self, *answers: Record | Exception) -> None:
        self._answers = iter(answers)
        self.ended: list[int] = []

    def claim(
        self,
        owner: str,
        expected: int,
        leave_out: frozenset[str],
        take_in: Mapping[str, str],
        moved: Mapping[str, str] | None = None,
        afresh: bool = False,
        cause: str = "",
    ) -> Record:
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def renew(self, record: Record, token: int, next: int) -> bool:
        raise AssertionError("no record has a lease")

    def end(self, generation: int) -> None:
        self.ended.append(generation)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def process(tmp_path: Path, said: list[str]) -> Iterator[Process]:
    arbiter = Arbiter(
        ArbiterError("away"),
        ArbiterError("away"),
        ZeroDivisionError("odd"),
        ArbiterError("away"),
        OTHER,
        ArbiterError("away"),
    )

    def observe(event: Event) -> None:
        said.append(event.text if isinstance(event, Notice) else "")

    setting = Setting(sample("hello"), ConsoleFile(tmp_path / "console"), {}, {})
    listener = channel.listen(f"ipc://{tmp_path}/socket", None, forbidden)
    yield Process(setting, Channels(listener), arbiter, observe)
    listener.close()


def test_whatever_fails_in_a_claim_it_is_answered_and_told_once(
    process: Process, said: list[str]
) -> None:
    answers: list[Record | None] = []
    replica = cast(Replica, SimpleNamespace(arbiter_answered=answers.append))
    for _ in range(6):
        process.claim(Claim(1))
        process._calls.get(timeout=10)(replica)
    assert answers == [None, None, None, None, OTHER, None]
    assert said == ["away", "the arbiter failed: ZeroDivisionError: odd", "away", "away"]


def test_a_guest_ends_whatever_becomes_of_its_core(tmp_path: Path, said: list[str]) -> None:
    def observe(event: Event) -> None:
        said.append(event.text if isinstance(event, Notice) else "")

    image, console = sample("fault"), ConsoleFile(tmp_path / "console")
    setting = Setting(image, console, {}, {}, core_directory=tmp_path / "no\0directory")
    listener = channel.listen(f"ipc://{tmp_path}/socket", None, forbidden)
    arbiter = Arbiter(Record(2, "this", ("this",)))
    process = Process(setting, Channels(listener), arbiter, observe, instance="this")
    config = GuestConfig(image.digest, arguments=("--kind=ud",))
    assert process.run_primary(config, 1, secondaries=0).status == 255
    assert any("cannot write a core file: ValueError" in text for text in said)


@pytest.mark.parametrize("stalled", [False, True])
def test_the_arbiter_learns_of_the_end_only_when_nothing_is_on_its_way(
    tmp_path: Path, said: list[str], stalled: bool
) -> None:
    """An output that was begun may reach the disk after another guest has started."""
    begun, go = threading.Event(), threading.Event()
    arbiter, image = Arbiter(), sample("hello")

    class SlowConsole(ConsoleFile):
        def write(self, offset: int, data: bytes) -> None:
            begun.set()
            go.wait(10)

    def observe(event: Event) -> None:
        said.append(event.text if isinstance(event, Notice) else "")

    console = SlowConsole(Path(os.devnull))
    listener = channel.listen(f"ipc://{tmp_path}/socket", None, forbidden)
    process = Process(Setting(image, console, {}, {}), Channels(listener), arbiter, observe)
    if not stalled:
        go.set()
    process._replica._queue.add(0, Kind.CONSOLE, 0, 0, b"x")
    process._replica._queue.permit(1, NEVER)
    assert begun.wait(10)
    process.stop("why")
    process._replica.start_primary(GuestConfig(image.digest), 1)
    assert isinstance(process._replica.role, Primary)
    process._replica.role.owns = True
    with pytest.raises(HostError, match="why"):
        process._run()
    assert arbiter.ended == ([] if stalled else [1])
    assert any("on its way" in text for text in said) == stalled
    go.set()


@pytest.mark.parametrize("known", [False, True])
def test_who_finds_that_the_arbiter_does_not_know_of_the_end_finds_the_log(
    tmp_path: Path, known: bool
) -> None:
    """Else the guest, which has ended, would boot."""

    class Forgetful(Arbiter):
        def end(self, generation: int) -> None:
            if not known:
                raise ArbiterError("away")
            super().end(generation)

    image, told = sample("hello"), Forgetful(Record(1, "me", ("me",)))
    config, logs = GuestConfig(image.digest), ResumeDirectory(tmp_path / "resume", "me", None)
    setting = Setting(image, ConsoleFile(tmp_path / "console"), {}, {}, resume=logs)
    listener = channel.listen(f"ipc://{tmp_path}/socket", None, forbidden)
    process = Process(setting, Channels(listener), told, lambda event: None, instance="me")
    assert process.run_primary(config, 0, secondaries=0).status == 0
    later = ResumeDirectory(tmp_path / "resume", "other", None)
    if known:
        with pytest.raises(Unresumable, match="has left no log"):
            later.take_over("me", config)
    else:
        file, history = later.take_over("me", config)
        file.close()
        assert history.ended == history.next - 1


class Heard:
    """Stands where a replica does, and notes what it is told."""

    def __init__(self) -> None:
        self.what: list[object] = []

    def arrived(self, peer: bytes, data: bytes) -> None:
        self.what.append(data)

    def disconnected(self, peer: bytes) -> None:
        self.what.append("disconnected")

    def probe(self) -> None:
        pass

    def turn(self) -> None:
        pass


def test_who_has_gone_is_lost_after_all_that_it_said(process: Process) -> None:
    """Its last word, that it leaves, may come while others are told something."""
    replica, network = Heard(), _Network(select.poll(), [])

    def turn() -> None:
        process._turn(cast("Replica", replica), network, set())

    with zmq.Context() as context, context.socket(zmq.DEALER) as peer:
        peer.connect(process.endpoint.partition(" ")[2])
        peer.send(b"first")
        listener = process._channel
        while not (found := [e for e in listener.events() if isinstance(e, Arrived)]):
            pass
        name = b"\0" + found[0].peer
        assert process.send(b"", name) and not process._unreachable
        peer.send(b"last")
    while listener.send(b"", found[0].peer):
        pass
    assert process.send(b"", name)
    turn()
    turn()
    assert replica.what == [b"last", "disconnected"]


def test_what_the_guest_makes_while_its_entries_are_taken_is_not_behind_its_visit(
    process: Process,
) -> None:
    """It makes another one, and is visited, when all before were taken."""
    entry: Entry = (Kind.CYCLES, 0, 0, 1, b"")

    class Overtaken(EntryOutbox):
        def take(self) -> list[Entry]:
            taken = super().take()
            if self.next == 1:
                self.append(entry)
                self.visit(lambda: True)
                self.pause()
            return taken

    outbox = Overtaken(process.wake, process.wake, threading.Condition())
    replica, now = process._replica, process.now()
    primary = replica.role = replica._roles.alone(GuestConfig(""), ALONE)
    primary.received(now, "n", Hello(replica._setting.image.digest, 0, 0, "", "", dict(basis())))
    primary.received(now, "n", Answer(0, 0, 0, 0))
    taken = SimpleNamespace(state=SimpleNamespace(next=2), to="n", precopy=None)
    replica.transfer = cast(Transfer, taken)
    guest = cast(Guest, SimpleNamespace(outbox=outbox))
    outbox.append(entry)
    outbox.pause()
    replica._flush_at = 0
    replica._take_entries(now, primary, guest)
    assert primary.joiner is not None and not primary.joiner.captured
    replica._take_entries(now, primary, guest)
    assert primary.next == 2 and primary.joiner.captured and not outbox.visited


def test_a_guest_that_hurries_while_a_turn_is_under_way_is_seen_before_the_host_sleeps(
    process: Process,
) -> None:
    replica, output = process._replica, (int(Kind.NET_WRITE), 0, 0, b"digest", b"")
    primary = replica.role = replica._roles.alone(GuestConfig(""), ALONE)
    outbox = EntryOutbox(process.wake, process.hurry, threading.Condition())
    guest = SimpleNamespace(outbox=outbox, failure=None)
    replica._guest = cast(Guest, guest)
    outbox.append(output)
    outbox.queued()
    while process._wake_receive in select.select([process._wake_receive], [], [], 0)[0]:
        process._wake_receive.recv(16)
    with process._turning:
        outbox.pause()
        assert replica.urgent and primary.next == 0
    assert not select.select([process._wake_receive], [], [], 0)[0], "nobody need be woken"
    replica.send_off()
    assert not replica.urgent and primary.next == 1


def test_a_role_is_told_of_the_time_when_it_wants_to_be(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks: list[int] = []
    replica = process._replica
    primary = replica.role = replica._roles.alone(GuestConfig(""), ALONE)
    monkeypatch.setattr(primary, "tick", lambda now: ticks.append(now) or [])
    monkeypatch.setattr(primary, "deadline", lambda: process.now() + NEVER // 2)
    replica.deadline()
    replica.turn()
    assert ticks == []
    monkeypatch.setattr(primary, "deadline", lambda: 0)
    replica.deadline()
    replica.turn()
    assert len(ticks) == 1


def test_a_guest_that_ends_before_it_can_be_adopted_has_ended(tmp_path: Path) -> None:
    image, arbiter, console = sample("hello"), Arbiter(), ConsoleFile(tmp_path / "console")
    config = GuestConfig(image.digest)
    listener = channel.listen(f"ipc://{tmp_path}/socket", None, forbidden)
    process = Process(
        Setting(image, console, {}, {}), Channels(listener), arbiter, lambda event: None
    )
    arbiter._answers = iter([Record(1, process._instance, (process._instance,))])
    machine, world = Machine(image, config), LiveWorld(console)
    process.adopt(config, 0, machine, world)
    machine.let_in = lambda: None  # type: ignore[method-assign]
    outcome = machine.run(world)
    assert isinstance(outcome, Outcome)
    process.call(lambda replica: replica.guest_ended(outcome))
    process.call(lambda replica: process.stop("it never ends"))
    assert process.run_adopted() == outcome and arbiter.ended == [1]
