"""Switches with trunks between them, as processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP

import pytest
import zmq
from commands import wait_until
from net.clients import Increments, Unprotected
from net.namespace import GUEST, PATIENT, add_tap, namespace
from net.switch_tools import (
    LOCAL,
    MACS,
    SwitchProcess,
    frame,
    port_at,
    receive,
    running,
    until_received,
)

from vlockstep.errors import UsageError
from vlockstep.net.nic import MAX_FRAME
from vlockstep.net.port import SwitchPort
from vlockstep.net.portmessages import (
    FRAME,
    PROTOCOL,
    TAGGED,
    WINDOW,
    Attach,
    Detach,
    Frame,
    Hello,
    Message,
    Ping,
    Probe,
    Refuse,
    Tagged,
    Taken,
    TrunkHello,
    Verdict,
    Who,
    decode,
    encode,
    parse_mac,
)
from vlockstep.switch.fabric import REMOTE_LIMIT, TABLE_LIMIT
from vlockstep.testing import Pair
from vlockstep.testing.counting import Counting
from vlockstep.wire import keys as key_files
from vlockstep.wire.keys import Keys, Party

A, B, C, D = MACS[:4]


def below(
    endpoint: str, *options: object, listen: str = LOCAL
) -> AbstractContextManager[SwitchProcess]:
    """A switch with a trunk to the one at `endpoint`."""
    return running("--uplink", f"trunk:{endpoint}", *options, listen=listen)


class Hosts:
    """The switches of two hosts, below the one that stands for the physical network."""

    def __init__(self, physical: SwitchProcess, one: SwitchProcess, other: SwitchProcess) -> None:
        self.physical, self.one, self.other = physical, one, other
        for host in (one, other):
            host.wait_event("uplink")
        physical.wait_count("trunk-connected", 2)
        self.endpoints = [switch.wait_endpoint() for switch in (physical, one, other)]


@contextmanager
def three(*options: object) -> Iterator[Hosts]:
    """`options` are for the one in the middle."""
    with running(*options) as physical:
        endpoint = physical.wait_endpoint()
        with below(endpoint) as one, below(endpoint) as other:
            yield Hosts(physical, one, other)


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    with three() as found:
        yield found


# Frames


def test_all_replicas_get_what_is_for_the_guest(hosts: Hosts) -> None:
    """Wherever they and the client are; and neither hears the other."""
    physical, one, other = hosts.endpoints
    with (
        port_at(one, A, "guest") as primary,
        port_at(other, A, "guest") as secondary,
        port_at(physical, B) as client,
        port_at(one, C) as neighbour,
    ):
        primary.write(frame(A, None))
        assert receive(client) == receive(neighbour) == frame(A, None)
        for sender, mac in ((client, B), (neighbour, C)):
            until_received(sender, frame(mac, A), secondary)
            while receive(primary) != frame(mac, A):  # others may have come twice
                pass
        primary.write(frame(A, None, b"to all"))
        until_received(client, frame(B, A, b"the first after it"), secondary)
        assert secondary.counters.received < 100
        assert {receive(client), receive(neighbour)} == {frame(A, None, b"to all")}


def test_who_takes_over_is_found(hosts: Hosts) -> None:
    physical, one, other = hosts.endpoints
    with port_at(other, A, "guest") as secondary, port_at(physical, B) as client:
        with port_at(one, A, "guest") as primary:
            primary.write(frame(A, None))
            assert receive(client) == frame(A, None)
        hosts.one.wait_event("port-disconnected", mac=A)
        secondary.write(frame(A, None, b"announcement"))
        assert receive(client) == frame(A, None, b"announcement")
        client.write(frame(B, A))
        while receive(secondary) != frame(B, A):
            pass
        hosts.physical.wait_status(lambda s: any(port["moves"] == 1 for port in s["ports"]))


@pytest.mark.parametrize("size", [14, 60, 1514, MAX_FRAME])
def test_frames_of_any_size(hosts: Hosts, size: int) -> None:
    _, one, other = hosts.endpoints
    with port_at(one, A) as a, port_at(other, B) as b:
        question = frame(A, B, bytes(size - 14))
        until_received(a, question, b)
        answer = frame(B, A, bytes(size - 14))
        b.write(answer)
        assert receive(a) == answer


def test_port_groups(hosts: Hosts) -> None:
    _, one, other = hosts.endpoints
    with ExitStack() as stack:
        ports = {}
        for endpoint in (one, other):
            for group, mac in (("", A if endpoint == one else B), ("blue", C)):
                port = SwitchPort.connect(endpoint, None, group, mac, group=group)
                ports[endpoint, group] = stack.enter_context(closing(port))
        hosts.physical.wait_event("trunk-connected")
        blue = stack.enter_context(closing(SwitchPort.connect(one, None, "x", A, group="blue")))
        blue.write(frame(A, None, b"blue"))
        assert receive(ports[one, "blue"]) == receive(ports[other, "blue"])
        ports[one, ""].write(frame(A, None, b"no group"))
        assert receive(ports[other, ""]) == frame(A, None, b"no group")


def test_an_address_of_another_guest_elsewhere(hosts: Hosts) -> None:
    _, one, other = hosts.endpoints
    with port_at(one, A, "guest") as primary, port_at(other, B) as b:
        primary.write(frame(A, None))
        assert receive(b) == frame(A, None)
        with port_at(other, A, "guest") as secondary:  # so it is known there whose A is
            until_received(b, frame(B, A), secondary)
        reason = f"{A} belongs to another guest.*guest.*give this one's NIC another"
        with pytest.raises(UsageError, match=reason):
            SwitchPort.connect(other, None, "other", A)


def test_two_guests_with_one_address_meet_by_a_trunk(tmp_path: Path) -> None:
    """Neither is refused, for both have been there, and it is told; unless the one's switch knows
    of the other before it comes back."""
    path = f"ipc://{tmp_path}/host"
    with running() as physical, port_at(physical.wait_endpoint(), A, "guest"):
        with running(listen=path) as alone:
            alone.wait_endpoint()
            other = SwitchPort.connect(path, None, "other", A)
        with closing(other), below(physical.wait_endpoint(), listen=path) as host:
            wait_until(lambda: host.count("address-conflict") or host.count("port-refused"))


# Loops


def test_a_trunk_to_itself(tmp_path: Path) -> None:
    path = f"ipc://{tmp_path}/switch"
    with below(path, listen=path) as switch:
        reason = switch.wait_event("uplink-refused", name=f"trunk:{path}")["reason"]
        name = reason.split()[-1]
        assert reason == f"it would close a loop of switches, from {name} to {name}"
        assert name.endswith(f":{switch.pid}")
        with port_at(path, A) as a, port_at(path, B) as b:
            a.write(frame(A, None))
            assert receive(b) == frame(A, None)
            assert not b.waiting()


def ring(directory: Path, count: int, stack: ExitStack) -> list[SwitchProcess]:
    """Each has a trunk to the next."""
    paths = [f"ipc://{directory}/{number}" for number in range(count)]
    parents = [*paths[1:], paths[0]]
    return [
        stack.enter_context(below(parent, listen=path))
        for path, parent in zip(paths, parents, strict=True)
    ]


def uplink_events(switch: SwitchProcess) -> list[str]:
    return [e["event"] for e in switch.events if e["event"].startswith("uplink")]


def settled(switches: list[SwitchProcess]) -> bool:
    """Whether all trunks but one are up, as far as was told."""
    last = sorted(event for switch in switches for event in uplink_events(switch)[-1:])
    return last == [*["uplink"] * (len(switches) - 1), "uplink-refused"]


def check_ring(switches: list[SwitchProcess], ports: list[SwitchPort]) -> None:
    """Every frame arrives once."""
    wait_until(lambda: settled(switches))
    macs = MACS[: len(ports)]
    for mac, port in zip(macs, ports, strict=True):
        port.write(frame(mac, None))
    for mac, port in zip(macs, ports, strict=True):
        others = [frame(other, None) for other in macs if other != mac]
        assert sorted(receive(port) for _ in others) == sorted(others)
    assert not any(port.waiting() for port in ports)


@pytest.mark.parametrize("count", [2, 3])
def test_a_ring(tmp_path: Path, count: int) -> None:
    """Exactly one trunk is refused; and it is so again when a switch was replaced by another."""
    with ExitStack() as stack:
        switches = ring(tmp_path, count, stack)
        endpoints = [switch.wait_endpoint() for switch in switches]
        ports = [
            stack.enter_context(port_at(endpoint, mac))
            for endpoint, mac in zip(endpoints, MACS, strict=False)
        ]
        check_ring(switches, ports)
        switches[0].signal(SIGKILL)
        switches[0].wait_exit()
        switches[0] = stack.enter_context(below(endpoints[1], listen=endpoints[0]))
        switches[0].wait_event("port-connected", mac=MACS[0])
        check_ring(switches, ports)


def test_a_refused_trunk_stands_when_the_ring_is_broken(tmp_path: Path) -> None:
    with ExitStack() as stack:
        switches = ring(tmp_path, 3, stack)
        wait_until(lambda: settled(switches))
        refused = next(s for s in switches if uplink_events(s)[-1] == "uplink-refused")
        at = switches.index(refused)
        switches[at - 1].signal(SIGKILL)  # whose trunk leads to the refused one's switch
        refused.wait_count("uplink", 1)


# Trunks that come and go


@pytest.mark.parametrize("which", ["physical", "host"])
def test_a_killed_switch_comes_back(which: str) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(running())
        endpoint = first.wait_endpoint()
        other = stack.enter_context(below(endpoint))
        host = stack.enter_context(below(endpoint))
        for switch in (host, other):
            switch.wait_event("uplink")
        address = host.wait_endpoint()
        a = stack.enter_context(port_at(address, A, "guest"))
        s = stack.enter_context(port_at(other.wait_endpoint(), A, "guest"))
        b = stack.enter_context(port_at(other.wait_endpoint(), B))
        a.write(frame(A, None))
        until_received(b, frame(B, A), a)
        killed = first if which == "physical" else host
        killed.signal(SIGKILL)
        killed.wait_exit()
        if which == "physical":
            lost = other.wait_event("uplink-lost", name=f"trunk:{endpoint}")
            assert lost["reason"] == "the connection is over"
            stack.enter_context(running(listen=endpoint))
        else:
            first.wait_event("trunk-disconnected")
            stack.enter_context(below(endpoint, listen=address))
        until_received(b, frame(B, A, b"again"), a)
        until_received(a, frame(A, B), b)
        until_received(b, frame(B, A, b"to both"), s)


def test_a_switch_that_stands_still(hosts: Hosts) -> None:
    _, one, other = hosts.endpoints
    with port_at(one, A) as a, port_at(other, B) as b:
        until_received(a, frame(A, B), b)
        for switch in (hosts.physical, hosts.one):
            losses = hosts.one.count("uplink-lost")
            connections = hosts.physical.count("trunk-disconnected")
            switch.signal(SIGSTOP)
            if switch is hosts.physical:
                hosts.one.wait_count("uplink-lost", losses + 1)
            else:
                hosts.physical.wait_count("trunk-disconnected", connections + 1)
            switch.signal(SIGCONT)
            until_received(a, frame(A, B, b"again"), b)


def test_nobody_there_yet(tmp_path: Path) -> None:
    path = f"ipc://{tmp_path}/physical"
    with below(path) as host:
        lost = host.wait_event("uplink-lost", name=f"trunk:{path}")
        assert lost["reason"] == "no switch answers there"
        with running(listen=path):
            host.wait_event("uplink", name=f"trunk:{path}")
        host.wait_count("uplink-lost", 2)


def test_counters_of_a_trunk(hosts: Hosts) -> None:
    _, one, other = hosts.endpoints
    data = frame(A, None)
    with port_at(one, A) as a, port_at(other, B) as b:
        a.write(data)
        receive(b)
        up = hosts.one.wait_status(lambda s: any(p["sent"] for p in s["ports"]))["ports"]
        (trunk,) = [port for port in up if port["name"].startswith("trunk:")]
        assert trunk["up"]
        assert (trunk["sent"], trunk["sent_bytes"], trunk["mac"]) == (1, len(data), "")
        name = f":{hosts.one.pid}"
        ports = hosts.physical.wait_status(lambda s: any(p["received"] for p in s["ports"]))
        (row,) = [port for port in ports["ports"] if port["name"].endswith(name)]
        assert (row["received"], row["received_bytes"], row["up"]) == (1, len(data), True)


# Peers that are no switches, or bad ones


class Peer:
    """A switch below the one at `endpoint`, which says what it is told to."""

    def __init__(self, endpoint: str) -> None:
        self.socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RCVTIMEO, 20_000)
        self.socket.setsockopt(zmq.RCVHWM, 0)
        self.socket.connect(endpoint)

    def say(self, *messages: Message | bytes) -> None:
        for message in messages:
            self.socket.send(message if isinstance(message, bytes) else encode(message))

    def hear(self, kind: type[Message]) -> Message:
        while not isinstance(message := decode(self.socket.recv()), kind):
            pass
        return message

    def join(self) -> None:
        """Be below it, when it has taken what was said before. As a switch, it asks again if there
        is no answer: on a machine that is busy otherwise the connection may have been lost."""
        hello = TrunkHello(PROTOCOL, "a peer", "peer", 1)
        heard: Message | None = None
        while heard != Verdict(1, {"a peer": "peer"}, ""):
            if heard is None or isinstance(heard, Who):
                self.say(hello)
            heard = decode(self.socket.recv()) if self.socket.poll(1000) else None


@contextmanager
def peer(endpoint: str) -> Iterator[Peer]:
    """One to which the switch has a trunk."""
    found = Peer(endpoint)
    try:
        found.join()
        yield found
    finally:
        found.socket.close(0)


def test_a_switch_below_that_says_anything(hosts: Hosts) -> None:
    physical, one, _ = hosts.endpoints
    with port_at(one, A) as a, port_at(physical, B) as b, peer(physical) as hostile:
        hostile.say(
            b"", b"\xff", TAGGED, TAGGED + b"\xff", FRAME + frame(C, None), b"\x09\x90",
            Probe(1, {}, ""), Probe(1, {"a peer": "", "b": ""}, ""), Probe(1, {"b": ""}, ""),
            Verdict(1, {}, ""), Verdict(1, {"a peer": "peer"}, ""), Who(), Refuse(""), Ping(),
            Taken(1 << 60), Tagged(b"", b"short"), Tagged(b"\xff" * 64, frame(C, None)),
            Detach("", parse_mac(D)), Attach("", bytes(6), "x"), Attach("", b"\xff" * 6, ""),
            Attach("", parse_mac(A), "no guest of yours"), Hello(PROTOCOL, "x", bytes(6), "", ""),
        )  # fmt: skip
        hostile.hear(Who)
        until_received(a, frame(A, B), b)
        hosts.physical.wait_event("address-conflict", mac=A)
        hostile.say(TrunkHello(PROTOCOL + 1, "a peer", "peer", 2))
        refused = hostile.hear(Refuse)
        assert isinstance(refused, Refuse) and "version" in refused.reason
        until_received(b, frame(B, A), a)
        assert hosts.physical.count("trunk-disconnected", name=f"trunk:vm:{hosts.one.pid}") == 0


def test_a_switch_below_with_too_much_behind_it(hosts: Hosts) -> None:
    physical, one, _ = hosts.endpoints
    with port_at(one, A) as a, port_at(physical, B) as b, peer(physical) as hostile:
        told = [
            Attach(f"group {number}", b"\x02\0\0\1" + number.to_bytes(2), "guest")
            for number in range(REMOTE_LIMIT + 10)
        ]
        frames = [Tagged(b"%d" % number, frame(C, None)) for number in range(TABLE_LIMIT + 10)]
        for messages in (told, frames):
            for start in range(0, len(messages), WINDOW):
                hostile.say(*messages[start : start + WINDOW])
                hostile.join()  # who keeps to no window loses the connection
        hosts.physical.wait_status(lambda s: any(port["overflowed"] for port in s["ports"]))
        until_received(a, frame(A, B), b)
        hosts.physical.wait_status(lambda s: bool(s["addresses"] == TABLE_LIMIT))


def test_a_switch_below_that_takes_nothing(hosts: Hosts) -> None:
    """It gets as many frames as the window has, and others go on."""
    physical, one, _ = hosts.endpoints
    with port_at(one, A) as a, port_at(physical, B) as b, peer(physical) as deaf:
        deaf.say(Attach("", parse_mac(C), "guest"))
        until_received(a, frame(A, B), b)
        while not any(port["overflowed"] for port in hosts.physical.status.get("ports", ())):
            b.write(frame(B, C))
        (row,) = [p for p in hosts.physical.status["ports"] if p["name"] == "trunk:peer"]
        assert row["sent"] == WINDOW
        until_received(b, frame(B, A), a)
        deaf.say(Taken(WINDOW))
        while row["sent"] == WINDOW:
            b.write(frame(B, C))
            (row,) = [p for p in hosts.physical.status["ports"] if p["name"] == "trunk:peer"]


def test_what_is_no_switch_above(tmp_path: Path) -> None:
    """Until it has said yes, in answer to what was asked, nothing goes there."""
    path = f"ipc://{tmp_path}/fake"
    router: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.ROUTER)
    with router:
        router.setsockopt(zmq.LINGER, 0)
        router.setsockopt(zmq.RCVTIMEO, 20_000)
        router.bind(path)
        with below(path) as host:

            def hear(kind: type[Message]) -> tuple[bytes, Message]:
                while True:
                    who, data = router.recv_multipart()
                    if isinstance(message := decode(data), kind):
                        return who, message

            who, hello = hear(TrunkHello)
            assert isinstance(hello, TrunkHello)
            own = {hello.identity: hello.name}

            def say(*messages: Message | bytes) -> None:
                for each in messages:
                    data = each if isinstance(each, bytes) else encode(each)
                    router.send_multipart([who, data])

            with port_at(host.wait_endpoint(), A) as a, port_at(host.wait_endpoint(), B) as b:
                say(
                    b"", b"\xff", TAGGED, Frame(frame(C, None)), Tagged(b"", frame(C, None)),
                    Verdict(99, own, ""), Verdict(1, {}, ""), Verdict(1, {"x": ""}, ""),
                    Verdict(1, {"x": ""} | own, ""), Attach("", parse_mac(C), "x"), Taken(5),
                    Probe(1, own, hello.identity), hello, Refuse(""),
                )  # fmt: skip
                refused = host.wait_event("uplink-refused", name=f"trunk:{path}")
                assert refused["reason"] == "without a reason"
                a.write(frame(A, None))
                assert receive(b) == frame(A, None)
                _, again = hear(TrunkHello)
                assert isinstance(again, TrunkHello)
                while again.attempt == hello.attempt:
                    _, again = hear(TrunkHello)
                    assert isinstance(again, TrunkHello)
                say(Verdict(again.attempt, own, ""))
                host.wait_event("uplink")
                hear(Attach)
                say(Tagged(b"", frame(C, None)), Who())
                assert receive(a) == frame(C, None)
                host.wait_event("uplink-lost")


# Keys


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("keys") / "ours"
    key_files.create(made)
    return made


def test_trunks_with_keys(directory: Path) -> None:
    keys = ("--keys", directory)
    with running(*keys) as physical, below(physical.wait_endpoint(), *keys) as host:
        host.wait_event("uplink")
        primary = key_files.load(directory, Party.PRIMARY)
        secondary = key_files.load(directory, Party.SECONDARY)
        with (
            port_at(host.wait_endpoint(), A, "guest", primary) as a,
            port_at(physical.wait_endpoint(), B, "other", secondary) as b,
        ):
            until_received(a, frame(A, B), b)


def test_other_keys_or_none(directory: Path, tmp_path: Path) -> None:
    key_files.create(tmp_path / "others")
    with running("--keys", directory) as physical:
        endpoint = physical.wait_endpoint()
        with below(endpoint, "--keys", tmp_path / "others") as stranger:
            lost = stranger.wait_event("uplink-lost")
            assert "the switch.key that is here is not its own" in lost["reason"]
        with below(endpoint) as without:
            assert without.wait_exit() == 1
            assert f"{endpoint}: there are keys there and none here" in without.text[-1]


def with_key(directory: Path, party: Party, endpoint: str, hello: Message) -> Message:
    """What the switch answers to `hello` from somebody with that key."""
    keys: Keys = key_files.load(directory, party)
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
    with socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVTIMEO, 20_000)
        socket.setsockopt(zmq.CURVE_SERVERKEY, keys.of(Party.SWITCH))
        socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret)
        socket.connect(endpoint)
        socket.send(encode(hello))
        return decode(socket.recv())


def test_each_party_says_only_what_is_its_part(directory: Path) -> None:
    trunk = TrunkHello(PROTOCOL, "identity", "name", 1)
    port = Hello(PROTOCOL, "guest", parse_mac(A), "name", "")
    with running("--keys", directory) as switch:
        endpoint = switch.wait_endpoint()
        for party, hello, what in (
            (Party.PRIMARY, trunk, "trunk"),
            (Party.SECONDARY, trunk, "trunk"),
            (Party.SWITCH, port, "port"),
        ):
            refused = with_key(directory, party, endpoint, hello)
            assert refused == Refuse(f"who has the key of the {party} can have no {what}")
        switch.wait_count("port-refused", 3)


# Guests


@pytest.mark.external("ip")
@pytest.mark.parametrize("keys", [False, True])
def test_clients_outlive_the_primary_on_another_host(tmp_path: Path, keys: bool) -> None:
    """The primary is at one host's switch and the secondary at the other's; the clients are on the
    network outside."""
    with namespace(), ExitStack() as stack:
        add_tap("uplink0")
        pair = Pair(
            "kv", [f"--ipv4={GUEST}/24"], directory=tmp_path / "pair", keys=keys, misses=PATIENT
        )
        stack.enter_context(closing(pair))
        encryption = ["--keys", pair.keys] if keys else []
        physical = stack.enter_context(running("--uplink", "tap:uplink0,group=blue", *encryption))
        endpoint = physical.wait_endpoint()
        hosts = [stack.enter_context(below(endpoint, *encryption)) for _ in range(2)]
        nets = [["--net", f"net=switch:{host.wait_endpoint()},group=blue"] for host in hosts]
        for host in hosts:
            host.wait_event("uplink")
        pair.start_primary(*nets[0])
        pair.start_secondary(*nets[1])
        for role in ("primary", "secondary"):
            pair.process(role).wait_event("started")
        clients = stack.enter_context(closing(Counting((GUEST, 6379), 10)))
        clients.wait(200)
        pair.crash()
        pair.wait_live()
        clients.wait(200)
        for key, count in clients.stop().items():
            assert clients.get(key) == count


@pytest.mark.external("ip")
def test_a_connection_outlives_a_killed_switch(tmp_path: Path) -> None:
    """TCP sends again what was lost with it."""
    with namespace(), ExitStack() as stack:
        add_tap("uplink0")
        uplink = ("--uplink", "tap:uplink0")
        first = stack.enter_context(running(*uplink))
        host = stack.enter_context(below(first.wait_endpoint()))
        host.wait_event("uplink")
        guest = Unprotected("kv", net=f"switch:{host.wait_endpoint()}")
        stack.enter_context(closing(guest))
        guest.wait_text("kv: ")
        with Increments("n") as increments:
            increments.wait_more(50)
            first.signal(SIGKILL)
            first.wait_exit()
            stack.enter_context(running(*uplink, listen=first.wait_endpoint()))
            increments.wait_more(50)
        assert increments.error is None
        assert increments.replies == list(range(1, len(increments.replies) + 1))
