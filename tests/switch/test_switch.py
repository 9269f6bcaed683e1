"""`vlockstep switch` and its ports, as processes."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from signal import SIGCONT, SIGINT, SIGKILL, SIGSTOP, SIGTERM

import pytest
import zmq
from commands import run_command
from net.switch_tools import (
    LOCAL,
    MACS,
    SwitchProcess,
    frame,
    port_at,
    port_process,
    receive,
    running,
    until_received,
)

from vlockstep.errors import HostError, UsageError
from vlockstep.net.nic import MAX_FRAME
from vlockstep.net.port import SwitchPort
from vlockstep.net.portmessages import (
    FRAME,
    MAX_MESSAGE,
    PROTOCOL,
    Hello,
    Refuse,
    Who,
    decode,
    encode,
    parse_mac,
)
from vlockstep.switch.fabric import REPLICAS
from vlockstep.testing import process as replica_process
from vlockstep.testing.process import command, environment
from vlockstep.wire import keys as key_files
from vlockstep.wire.keys import Keys, Party

A, B, C, D = MACS[:4]


@pytest.fixture
def switch() -> Iterator[SwitchProcess]:
    with running() as process:
        process.wait_endpoint()
        yield process


# Frames


@pytest.mark.parametrize("kind", ["tcp", "ipc", "ipv6"])
def test_two_ports_exchange_frames(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    listen = f"ipc://{tmp_path}/switch" if kind == "ipc" else LOCAL
    if kind == "ipv6":
        listen = request.getfixturevalue("ipv6")
    with running(listen=listen) as switch:
        endpoint = switch.wait_endpoint()
        with port_at(endpoint, A) as a, port_at(endpoint, B) as b:
            for size in (14, 60, 1514, MAX_FRAME):
                question = frame(A, B, os.urandom(size - 14))
                a.write(question)
                assert receive(b) == question
                answer = frame(B, A, os.urandom(size - 14))
                b.write(answer)
                assert receive(a) == answer
            assert a.connected()
            assert (a.counters.sent, a.counters.received) == (4, 4)
            assert a.counters.sent_bytes == a.counters.received_bytes == 14 + 60 + 1514 + MAX_FRAME


def test_frames_come_in_order(switch: SwitchProcess) -> None:
    with port_at(switch.wait_endpoint(), A) as a, port_at(switch.wait_endpoint(), B) as b:
        sent = [frame(A, B, number.to_bytes(2)) for number in range(500)]
        for data in sent:
            a.write(data)
        assert [receive(b) for _ in sent] == sent
        assert b.read(MAX_FRAME) is None
        assert not b.waiting()


def test_both_replicas_get_what_is_for_the_guest(switch: SwitchProcess) -> None:
    endpoint = switch.wait_endpoint()
    with (
        port_at(endpoint, A, "guest") as primary,
        port_at(endpoint, A, "guest") as secondary,
        port_at(endpoint, B) as other,
    ):
        primary.write(frame(A, None))
        assert receive(other) == frame(A, None)
        other.write(frame(B, A))
        assert receive(primary) == receive(secondary) == frame(B, A)


def test_frames_of_impossible_length(switch: SwitchProcess) -> None:
    with port_at(switch.wait_endpoint(), A) as a, port_at(switch.wait_endpoint(), B) as b:
        a.write(frame(A, B)[:13])
        a.write(frame(A, B).ljust(MAX_FRAME + 1, b"\0"))
        assert (a.counters.send_dropped, a.counters.sent) == (2, 0)
        a.write(frame(A, B, b"too long for b"))
        a.write(frame(A, B, b"fits"))
        while not b.waiting():
            pass
        while (got := b.read(18)) is None:
            pass
        assert got == frame(A, B, b"fits")
        assert b.counters.receive_dropped == 1


def test_a_flood_does_not_stop_others(switch: SwitchProcess) -> None:
    """Neither does a port that does not read. A frame may get lost where a port was not heard of
    for so long that its connection counted as lost, as on a machine that is busy otherwise."""
    endpoint = switch.wait_endpoint()
    with (
        port_at(endpoint, A) as a,
        port_at(endpoint, B) as b,
        port_at(endpoint, C) as flooding,
        port_at(endpoint, D),
    ):
        done = threading.Event()
        data = frame(C, D, bytes(9000))

        def flood() -> None:
            while not done.is_set():
                flooding.write(data)

        thread = threading.Thread(target=flood)
        thread.start()
        try:
            switch.wait_status(lambda status: any(p["overflowed"] for p in status["ports"]))
            for number in range(100):
                until_received(a, frame(A, B, bytes((number,))), b)
        finally:
            done.set()
            thread.join()


# Ports that come and go


def test_a_killed_port_is_forgotten(switch: SwitchProcess) -> None:
    endpoint = switch.wait_endpoint()
    with port_at(endpoint, B) as b, port_at(endpoint, C) as c:
        with port_process(endpoint, A) as process:
            assert receive(b) == receive(c) == frame(A, None, b"here")
            b.write(frame(B, A, b"to A alone"))
            b.write(frame(B, None, b"to all"))
            assert receive(c) == frame(B, None, b"to all")
            process.send_signal(SIGKILL)
            switch.wait_event("port-disconnected", mac=A)
        b.write(frame(B, A, b"to wherever A is"))
        assert receive(c) == frame(B, A, b"to wherever A is")


def test_the_other_replica_of_a_killed_one(switch: SwitchProcess) -> None:
    endpoint = switch.wait_endpoint()
    with port_at(endpoint, A, "guest") as secondary, port_at(endpoint, B) as b:
        with port_process(endpoint, A, "guest") as primary:
            assert receive(b) == frame(A, None, b"here")
            primary.send_signal(SIGKILL)
            switch.wait_event("port-disconnected", mac=A)
        b.write(frame(B, A))
        assert receive(secondary) == frame(B, A)
        with port_process(endpoint, A, "guest"):
            switch.wait_count("port-connected", 3, mac=A)


def test_a_port_that_stands_still(switch: SwitchProcess) -> None:
    endpoint = switch.wait_endpoint()
    with port_process(endpoint, A) as process:
        process.send_signal(SIGSTOP)
        switch.wait_event("port-disconnected", mac=A)
        process.send_signal(SIGCONT)
        switch.wait_count("port-connected", 2, mac=A)


@pytest.mark.parametrize("kind", ["tcp", "ipc"])
def test_a_killed_switch_comes_back(kind: str, tmp_path: Path) -> None:
    with running(listen=LOCAL if kind == "tcp" else f"ipc://{tmp_path}/switch") as first:
        endpoint = first.wait_endpoint()
        with port_at(endpoint, A) as a, port_at(endpoint, B) as b:
            first.signal(SIGKILL)
            first.wait_exit()
            while a.connected():
                a.write(frame(A, B, b"lost"))
            dropped = a.counters.send_dropped
            a.write(frame(A, B, b"lost"))
            assert a.counters.send_dropped == dropped + 1
            with running(listen=endpoint) as second:
                for mac in (A, B):
                    second.wait_event("port-connected", mac=mac)
                until_received(a, frame(A, B), b)
                assert a.connected()


def test_a_switch_that_stands_still(switch: SwitchProcess) -> None:
    endpoint = switch.wait_endpoint()
    with port_at(endpoint, A) as a, port_at(endpoint, B) as b:
        switch.signal(SIGSTOP)
        switch.wait_paused()
        while a.connected():
            a.write(frame(A, B, b"lost"))
        switch.signal(SIGCONT)
        until_received(a, frame(A, B), b)


def test_nobody_there() -> None:
    with running() as switch:
        endpoint = switch.wait_endpoint()
    with pytest.raises(
        HostError,
        match=f"no switch answers at {endpoint} within 0.1 s; start `vlockstep switch`",
    ):
        SwitchPort.connect(endpoint, None, "guest", A, timeout=0.1)


def test_the_same_address_twice(switch: SwitchProcess) -> None:
    endpoint = switch.wait_endpoint()
    with port_at(endpoint, A, "guest"):
        with pytest.raises(UsageError, match=f"refuses: .*{A}.*give this one's NIC another"):
            SwitchPort.connect(endpoint, None, "other", A)
        switch.wait_event("port-refused", mac=A)
        with ExitStack() as ports:
            for _ in range(REPLICAS - 1):
                ports.enter_context(port_at(endpoint, A, "guest"))
            with pytest.raises(UsageError, match="give its NIC another"):
                SwitchPort.connect(endpoint, None, "guest", A)


def test_who_looks_before_connecting_is_not_refused(switch: SwitchProcess) -> None:
    with port_at(switch.wait_endpoint(), A):
        connected = switch.wait_event("port-connected")["time"]
        # Which is told once a second, before the status.
        switch.wait_status(lambda status: bool(status["time"] > connected + 1))
    assert not any(event["event"] == "port-refused" for event in switch.events)


def test_what_is_not_a_port(switch: SwitchProcess) -> None:
    """Whatever it says, the switch goes on."""
    endpoint = switch.wait_endpoint()
    hello = Hello(PROTOCOL, "guest", parse_mac(C), "name", "")
    hostile = [
        [b""], [b"\0"], [b"\xff"], [b"a", b"b", b"c"], [b"", b"", b""], [encode(hello)[:-3]],
        [encode(hello), b"more"], [FRAME + frame(A, None)], [b"\x01" + bytes(1000)],
        [encode(Refuse("you"))], [encode(Who())],
    ]  # fmt: skip
    stranger: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
    with port_at(endpoint, A) as a, port_at(endpoint, B) as b, stranger:
        stranger.setsockopt(zmq.LINGER, 0)
        stranger.connect(endpoint)
        for parts in hostile:
            stranger.send_multipart(parts)
        assert isinstance(decode(stranger.recv()), Who)  # to the frame
        stranger.send(encode(Hello(PROTOCOL + 1, "guest", parse_mac(C), "name", "")))
        while isinstance(refused := decode(stranger.recv()), Who):
            pass
        assert isinstance(refused, Refuse)
        assert "version" in refused.reason
        stranger.send(encode(hello))
        switch.wait_event("port-connected", mac=C)
        for parts in hostile:
            stranger.send_multipart(parts)
        switch.wait_status(lambda status: any(p["malformed"] > 5 for p in status["ports"]))
        stranger.send(bytes(MAX_MESSAGE + 1))
        switch.wait_event("port-disconnected", mac=C)
        until_received(a, frame(A, B), b)
        assert all(event.get("mac") != A for event in switch.events[3:])


def test_what_is_not_a_switch() -> None:
    """A port does not believe everything either."""
    router: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.ROUTER)
    with router:
        router.setsockopt(zmq.LINGER, 0)
        port = router.bind_to_random_port("tcp://127.0.0.1")

        def answer() -> None:
            peer, _ = router.recv_multipart()
            for data in (b"", b"\xff", b"\x02", b"\x03\x91", encode(Refuse("")), b"\0" * 5):
                router.send_multipart([peer, data])

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(UsageError, match="refuses: without a reason"):
            SwitchPort.connect(f"tcp://127.0.0.1:{port}", None, "guest", A)
        thread.join()


# Keys


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("keys") / "ours"
    key_files.create(made)
    return made


def keys_of(directory: Path, party: Party) -> Keys:
    return key_files.load(directory, party)


def test_replicas_with_keys(directory: Path) -> None:
    with running("--keys", directory, listen="tcp://0.0.0.0:0") as switch:
        endpoint = switch.wait_endpoint().replace("0.0.0.0", "127.0.0.1")
        with (
            port_at(endpoint, A, "guest", keys_of(directory, Party.PRIMARY)) as primary,
            port_at(endpoint, A, "guest", keys_of(directory, Party.SECONDARY)) as secondary,
            port_at(endpoint, B, "other", keys_of(directory, Party.PRIMARY)) as other,
        ):
            other.write(frame(B, A))
            assert receive(primary) == receive(secondary) == frame(B, A)


def test_who_has_no_place_at_the_switch(directory: Path, tmp_path: Path) -> None:
    key_files.create(tmp_path / "others")
    others = keys_of(tmp_path / "others", Party.PRIMARY)
    switch_key = keys_of(directory, Party.PRIMARY).peers[Party.SWITCH]
    unknown = Keys(others.party, others.public, others.secret, {Party.SWITCH: switch_key})
    operator = keys_of(directory, Party.OPERATOR)
    with running("--keys", directory) as switch:
        endpoint = switch.wait_endpoint()
        for keys, why in [
            (unknown, r"it does not accept the primary\.key that is here"),
            (operator, r"it does not accept the operator\.key that is here"),
            (others, r"the switch\.key that is here is not its own"),
            (None, "there are keys there and none here"),
        ]:
            with pytest.raises(HostError, match=f"{endpoint}: .*{why}"):
                SwitchPort.connect(endpoint, keys, "guest", A)
        switch.wait_event("port-refused")
        with port_at(endpoint, A, "guest", keys_of(directory, Party.PRIMARY)):
            switch.wait_event("port-connected", mac=A)


def test_keys_where_the_switch_has_none(switch: SwitchProcess, directory: Path) -> None:
    keys = keys_of(directory, Party.PRIMARY)
    with pytest.raises(HostError, match="there are keys here and none there"):
        SwitchPort.connect(switch.wait_endpoint(), keys, "guest", A)


def test_a_pair_without_the_switchs_key(directory: Path) -> None:
    keys = keys_of(directory, Party.PRIMARY)
    without = Keys(
        keys.party, keys.public, keys.secret, {Party.SECONDARY: keys.peers[Party.SECONDARY]}
    )
    with pytest.raises(UsageError, match=r"switch\.key"):
        SwitchPort.connect(LOCAL, without, "guest", A)


@pytest.mark.parametrize("endpoint", ["tcp://192.0.2.1:7710", "udp://127.0.0.1:1", "nonsense"])
def test_addresses_that_need_keys_or_are_none(endpoint: str) -> None:
    done = run_command("switch", "--listen", endpoint)
    assert done.returncode == 2
    assert "address" in done.stderr
    with pytest.raises(UsageError, match="address"):
        SwitchPort.connect(endpoint, None, "guest", A)


# The command


@pytest.mark.parametrize("number", [SIGINT, SIGTERM])
def test_counters_at_the_end(switch: SwitchProcess, number: int) -> None:
    with port_at(switch.wait_endpoint(), A) as a, port_at(switch.wait_endpoint(), B) as b:
        a.write(frame(A, B))
        receive(b)
        switch.signal(SIGINT if number == SIGINT else SIGTERM)
        assert switch.wait_exit() == 0
    ports = {port["mac"]: port for port in switch.stopped()["ports"]}
    size = len(frame(A, B))
    assert (ports[A]["received"], ports[A]["received_bytes"]) == (1, size)
    assert (ports[B]["sent"], ports[B]["sent_bytes"]) == (1, size)
    assert not any(port["malformed"] or port["overflowed"] for port in ports.values())


def test_nobody_reads_what_it_says(switch: SwitchProcess) -> None:
    endpoint = switch.wait_endpoint()
    switch.deafen()
    with port_at(endpoint, A) as a, port_at(endpoint, B) as b:  # whose coming it would like to tell
        a.write(frame(A, B))
        assert receive(b) == frame(A, B)
    switch.signal(SIGTERM)
    assert switch.wait_exit() == 0


def test_for_people() -> None:
    process = subprocess.Popen(
        command("switch", "--listen", LOCAL),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    with process:
        assert process.stderr is not None
        endpoint = process.stderr.readline().split()[-1]
        with port_at(endpoint, A):
            assert A in process.stderr.readline()
        assert f"{A} disconnected" in process.stderr.readline()
        process.send_signal(SIGINT)
        out, error = process.communicate(timeout=30)
    assert (process.returncode, error) == (0, "")
    assert out.startswith("port")
    assert "(gone)" in out
    assert A in out


def test_an_address_in_use(switch: SwitchProcess) -> None:
    endpoint = switch.wait_endpoint()
    done = run_command("switch", "--listen", endpoint)
    assert done.returncode == 1
    assert done.stderr == f"vlockstep: cannot listen on {endpoint}: Address already in use\n"


def test_a_file_and_a_living_switch_keep_their_path(tmp_path: Path) -> None:
    file, path = tmp_path / "file", tmp_path / "switch"
    file.write_text("precious")
    done = run_command("switch", "--listen", f"ipc://{file}")
    assert (done.returncode, file.read_text()) == (1, "precious")
    assert done.stderr == f"vlockstep: {file} exists and is no socket; choose another path\n"
    with running(listen=f"ipc://{path}") as switch:
        switch.wait_endpoint()
        done = run_command("switch", "--listen", f"ipc://{path}")
        assert done.returncode == 1 and f"{path} is already in use" in done.stderr
        with port_at(f"ipc://{path}", A):
            switch.wait_event("port-connected", mac=A)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--uplink", "wlan0"], "no uplink"),
        (["--uplink", "tap:"], "no uplink"),
        (["--uplink", "tap:,group=blue"], "no uplink"),
        (["--uplink", "passt", "--uplink", "passt"], "given twice"),
        (["--uplink", "tap:a", "--uplink", "tap:a,group=blue"], "--uplink tap:a is given twice"),
        (["--uplink", "tap:a,group="], "names no port group"),
        (["--uplink", "tap:a,group=" + "x" * 65], "is no port group"),
        (["--uplink", "trunk:"], "'' is no address: write tcp://HOST:PORT"),
        (["--uplink", "trunk:ipc://x,group=blue"], "a trunk has all port groups"),
        (
            ["--uplink", "trunk:ipc://x", "--uplink", "trunk:ipc://y"],
            "two could close a loop: let --uplink trunk:ipc://y be one of the other switch",
        ),
        (["--uplink", "trunk:tcp://192.0.2.1:7710"], "and there are no keys"),
        (["--forward", "8080:80"], "--uplink passt"),
        (["--guest-ip", "10.0.2.15/24"], "--uplink passt"),
        (["--gateway", "10.0.2.2"], "--uplink passt"),
        (["--uplink", "passt", "--forward", "80"], "HOSTPORT:GUESTPORT"),
        (["--uplink", "passt", "--gateway", "10.0.3.2"], "gateway"),
        (["--ageing", "0"], "--ageing"),
        (["--ageing", "nan"], "--ageing"),
    ],
)
def test_options_that_are_wrong(options: list[str], says: str) -> None:
    done = run_command("switch", *options)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_an_uplink_that_is_not_there() -> None:
    done = run_command("switch", "--uplink", "tap:no-such-device")
    assert done.returncode == 1
    assert "no network device no-such-device" in done.stderr


@pytest.fixture
def namespace(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A command's beginning that runs it in a network namespace with a tap device, where
    10.77.0.1/24 is the host."""
    name = f"vlockstep-test-{os.getpid()}"
    inside = ["ip", "netns", "exec", name]
    if os.geteuid() or subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode:
        pytest.skip("needs the right to make a network namespace")
    try:
        made = subprocess.run([*inside, "ip", "tuntap", "add", "tap0", "mode", "tap"])
        if made.returncode:
            pytest.skip("needs the right to make a tap device")
        for step in ("address add 10.77.0.1/24 dev tap0", "link set tap0 up"):
            subprocess.run([*inside, "ip", *step.split()], check=True)
        monkeypatch.setattr(replica_process, "command", lambda *a: [*inside, *command(*a)])
        yield inside
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


@pytest.mark.external("ip")
def test_a_tap_uplink(namespace: list[str], tmp_path: Path) -> None:
    send = "import socket; s = socket.socket(type=2); s.sendto(b'from the host', ('10.77.0.2', 9))"
    with running("--uplink", "tap:tap0", listen=f"ipc://{tmp_path}/switch") as switch:
        endpoint = switch.wait_endpoint()
        switch.wait_event("uplink", name="tap:tap0")
        with port_at(endpoint, A) as guest:
            subprocess.run([*namespace, "python3", "-c", send], check=True)
            ours, theirs = bytes((10, 77, 0, 2)), bytes((10, 77, 0, 1))
            while (question := receive(guest))[12:14] != b"\x08\x06" or question[38:42] != ours:
                pass  # the host's own noise
            mac, host = parse_mac(A), question[6:12]
            head = b"\x08\x06\0\1\x08\0\6\4\0\2"
            guest.write(host + mac + head + mac + ours + host + theirs)
            while not (datagram := receive(guest)).endswith(b"from the host"):
                pass
            assert datagram[:12] == mac + host
            for action, event in (("down", "uplink-lost"), ("up", "uplink")):
                before = switch.count(event, name="tap:tap0")
                subprocess.run([*namespace, "ip", "link", "set", "tap0", action], check=True)
                switch.wait_count(event, before + 1, name="tap:tap0")
