"""The store in etcd: members that die, passwords and certificates, and what is no etcd."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest
import store_storm
from commands import wait_until
from etcd_members import Etcd, answers, wait_for
from store_backends import Backend
from store_storm import Told

from vlockstep.cluster.store import Change, Entry, StoreError, open_store
from vlockstep.cluster.store import etcd as etcd_module
from vlockstep.cluster.store.etcd import EtcdStore
from vlockstep.cluster.store.etcdaddress import parse_address
from vlockstep.cluster.store.interface import elapsed
from vlockstep.cluster.store.values import Unreadable, entry_or_unreadable
from vlockstep.errors import UsageError

real = pytest.mark.external("etcd")


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Etcd]:
    etcd = Etcd(tmp_path, 3)
    wait_for(f"etcd://{etcd.endpoints}")
    yield etcd
    etcd.stop()


def ask(etcd: Etcd, method: str, **body: object) -> dict[str, object]:
    """As an administrator."""
    url = f"http://127.0.0.1:{etcd.client_ports[0]}/v3/{method}"
    with urllib.request.urlopen(url, json.dumps(body).encode()) as response:
        answer: dict[str, object] = json.load(response)
    return answer


# Members that die


def storm(etcd: Etcd, any_seed: int, kills: int) -> None:
    """Until so many members were killed and have been started again."""
    chance = Random(any_seed)
    address, over = f"etcd://{etcd.endpoints}", threading.Event()
    stores = [EtcdStore(address) for _ in range(4)]

    def work(store: EtcdStore) -> list[Told]:
        told: list[Told] = []
        while not over.is_set():
            told += store_storm.add(store, 1)
        return told + list(store_storm.add(store, 1))

    with ThreadPoolExecutor(len(stores)) as pool:
        runs = [pool.submit(work, store) for store in stores]
        for _ in range(kills):
            victim = chance.randrange(3)
            etcd.kill(victim)
            before = stores[0].get(store_storm.KEY)
            wait_until(lambda before=before: stores[0].get(store_storm.KEY) != before)
            etcd.start(victim)
            wait_for(f"etcd://127.0.0.1:{etcd.client_ports[victim]}")
        over.set()
        told = [one for run in runs for one in run.result()]
    store_storm.check(stores[0], told)
    for store in stores:
        store.close()


@real
def test_members_are_killed_and_nothing_is_lost_or_doubled(three: Etcd, any_seed: int) -> None:
    storm(three, any_seed, kills=2)


@real
@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_storm_while_members_are_killed(three: Etcd, any_seed: int) -> None:
    storm(three, any_seed, kills=25)


@real
def test_without_a_quorum_there_is_no_answer_and_then_there_is(three: Etcd) -> None:
    store = EtcdStore(f"etcd://{three.endpoints}/x", limit=2)
    watch = store.watch("")
    version = store.put("k", {"n": 1}, 0)
    assert watch.poll(60) == [Change("k", Entry({"n": 1}, version))]
    lease = store.grant(600)
    three.kill(0)
    three.kill(1)
    asked: list[Callable[[], object]] = [
        lambda: store.get("k"),
        lambda: store.list(""),
        lambda: store.put("k", {"n": 2}, version),
        lambda: store.delete("k", 1),
        lambda: store.watch("k"),
        lambda: store.grant(60),
        lease.keepalive,
    ]
    for ask in asked:
        with pytest.raises(StoreError, match="etcd"):
            ask()
    wait_until(lambda: "has no leader: see that most members of etcd run" in why_not(store))
    with contextlib.suppress(StoreError):
        assert watch.poll(0) == []
    three.start(0)
    wait_until(lambda: answers(store))
    entry = store.get("k")
    assert entry is not None and entry.value["n"] in (1, 2)
    lease.keepalive()
    version = store.put("k", {"n": 3}, entry.version)
    seen: list[Change] = []

    def told() -> bool:
        with contextlib.suppress(StoreError):
            seen.extend(watch.poll(1))
        return bool(seen) and seen[-1] == Change("k", Entry({"n": 3}, version))

    wait_until(told)
    watch.close()
    store.close()


def why_not(store: EtcdStore) -> str:
    with pytest.raises(StoreError) as caught:
        store.get("k")
    return str(caught.value)


@real
def test_a_watch_goes_on_at_another_member_and_misses_nothing(three: Etcd) -> None:
    store = open_store(f"etcd://{three.endpoints}")
    watch = store.watch("")
    seen: dict[str, Entry | None] = {}
    for victim in range(3):
        store.put(f"before/{victim}", {}, 0)
        three.kill(victim)
        wait_until(lambda: answers(store))
        wait_until(lambda victim=victim: put(store, f"during/{victim}"))
        three.start(victim)
        wait_for(f"etcd://127.0.0.1:{three.client_ports[victim]}")
    final = store.list("")

    def told() -> bool:
        with contextlib.suppress(StoreError):
            seen.update(watch.poll(1))
        return seen == final

    wait_until(told)
    watch.close()
    store.close()


def put(store: EtcdStore, key: str) -> bool:
    try:
        store.put(key, {}, None)
    except StoreError:
        return False
    return True


@real
def test_a_watch_goes_on_after_a_compaction(
    etcd: Backend, one_etcd: Etcd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it missed is told, by reading all again: also that of what it never told."""
    monkeypatch.setattr(etcd_module, "PAGE", 3)
    store = etcd.open()
    gone = store.put("gone", {}, 0)
    for number in range(7):
        store.put(f"same/{number}", {}, 0)
    silent = threading.Event()
    stream = etcd_module.Gateway.stream

    def deaf(*arguments: object) -> Iterator[object]:
        silent.wait(60)
        return stream(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(etcd_module.Gateway, "stream", deaf)
    watch = store.watch("")
    store.put("passing", {}, 0)
    assert store.get("passing")
    store.delete("passing", None)
    store.delete("gone", gone)
    version = store.put("new", {}, 0)
    ask(one_etcd, "kv/compaction", revision=str(version))
    silent.set()
    assert watch.poll(60) == [
        Change("gone", None),
        Change("new", Entry({}, version)),
        Change("passing", None),
    ]
    again = store.put("new", {}, version)
    assert watch.poll(60) == [Change("new", Entry({}, again))]
    watch.close()


@real
def test_a_stream_that_is_silent_for_long_is_opened_anew(
    etcd: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its member may hang."""
    opened = threading.Semaphore(0)
    stream = etcd_module.Gateway.stream

    def counted(*arguments: object) -> Iterator[object]:
        opened.release()
        return stream(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(etcd_module.Gateway, "stream", counted)
    monkeypatch.setattr(etcd_module, "SILENCE", 0.1)
    watch = etcd.open().watch("")
    for _ in range(3):
        assert opened.acquire(timeout=60)
    version = etcd.open().put("k", {}, 0)
    assert watch.poll(60) == [Change("k", Entry({}, version))]
    watch.close()


# What others write


@real
def test_what_is_foreign_in_etcd(etcd: Backend, one_etcd: Etcd) -> None:
    """Keys that are none are left alone; a value that is none is told of."""
    store = etcd.open()
    prefix = etcd.address.rpartition("/")[2]
    watch = store.watch("")
    for key in (f"{prefix}/", f"{prefix}/a//b", f"{prefix}/.x", f"{prefix}0", prefix):
        ask(one_etcd, "kv/put", key=encode(key), value=encode("?"))
    assert store.list("") == {}
    ask(one_etcd, "kv/put", key=encode(f"{prefix}/k"), value=encode("[1]"))
    for read in (lambda: store.get("k"), lambda: store.list(""), lambda: watch.poll(60)):
        with pytest.raises(StoreError, match="no JSON object at k"):
            read()
    version = store.put("k", {}, None)
    wait_until(lambda: watch_tells(watch) == [Change("k", Entry({}, version))])
    watch.close()


@real
def test_who_looks_at_all_there_is_is_told_what_cannot_be_read(
    etcd: Backend, one_etcd: Etcd
) -> None:
    """Beside what can."""
    with contextlib.closing(open_store(etcd.address, entry=entry_or_unreadable)) as store:
        prefix = etcd.address.rpartition("/")[2]
        version = store.put("a", {"n": 1}, 0)
        watch = store.watch("")
        ask(one_etcd, "kv/put", key=encode(f"{prefix}/k"), value=encode("no JSON"))
        (change,) = watch.poll(60)
        found = store.list("")
        assert found["a"] == Entry({"n": 1}, version) and found.keys() == {"a", "k"}
        for entry in (change.entry, found["k"], store.get("k")):
            assert entry is not None and isinstance(entry.value, Unreadable)
            assert "no JSON object at k" in entry.value.problem
        watch.close()


def watch_tells(watch) -> list[Change]:  # type: ignore[no-untyped-def]
    try:
        return list(watch.poll(1))
    except StoreError:
        return []


def encode(text: str) -> str:
    import base64

    return base64.b64encode(text.encode()).decode()


# Users and certificates


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an authority with a server and a client, and of another authority."""
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    for name in ("ca", "stranger"):
        authority = ["-addext", "keyUsage=keyCertSign"]
        openssl(
            *new,
            "-subj",
            f"/CN={name}",
            "-keyout",
            f"{name}.key",
            "-out",
            f"{name}.pem",
            *authority,
        )
    for name, subject in (("server", "/O=it"), ("client", "/O=we"), ("named", "/CN=we")):
        signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "subjectAltName=IP:127.0.0.1"]
        purposes = ["-addext", "extendedKeyUsage=serverAuth,clientAuth"]
        plain = ["-addext", "basicConstraints=critical,CA:FALSE"]
        openssl(
            *new, "-subj", subject, "-keyout", f"{name}.key", "-out", f"{name}.pem",
            *signed, *purposes, *plain,
        )  # fmt: skip
    return folder


@pytest.fixture
def secured(tmp_path: Path, certificates: Path) -> Iterator[Etcd]:
    """It wants certificates and, of root and of `agent`, passwords."""
    files = [certificates / name for name in ("ca.pem", "server.pem", "server.key")]
    etcd = Etcd(tmp_path, 1, *files)
    address = f"etcd://{etcd.endpoints}?{credentials(certificates)}"
    wait_for(address)
    admin = EtcdStore(address)._gateway

    def do(method: str, **body: object) -> None:
        admin.ask(method, body, elapsed() + 60)

    do("auth/role/add", name="root")
    do("auth/role/add", name="agents")
    permission = {"permType": 2, "key": encode("mine/"), "range_end": encode("mine0")}
    do("auth/role/grant", name="agents", perm=permission)
    for user, role in (("root", "root"), ("agent", "agents")):
        do("auth/user/add", name=user, password=f"{user}'s password")
        do("auth/user/grant", user=user, role=role)
    do("auth/enable")
    yield etcd
    etcd.stop()


def credentials(folder: Path, client: str = "client") -> str:
    return f"ca={folder}/ca.pem&cert={folder}/{client}.pem&key={folder}/{client}.key"


@pytest.mark.external("etcd", "openssl")
def test_users_and_certificates(secured: Etcd, certificates: Path, tmp_path: Path) -> None:
    password, wrong = tmp_path / "password", tmp_path / "wrong"
    password.write_text("agent's password\n")
    wrong.write_text("guessed")
    host, tls = secured.endpoints, credentials(certificates)
    as_agent = f"{tls}&user=agent&password-file={password}"

    store = open_store(f"etcd://{host}/mine?{as_agent}")
    watch = store.watch("hosts/")
    version = store.put("hosts/a", {}, 0, store.grant(600))
    assert store.list("") == {"hosts/a": Entry({}, version)}
    assert watch.poll(60) == [Change("hosts/a", Entry({}, version))]

    secured.kill(0)  # it forgets who is logged in
    secured.start(0)
    wait_until(lambda: answers(store))
    version = store.put("hosts/b", {}, 0)
    wait_until(lambda: watch_tells(watch) == [Change("hosts/b", Entry({}, version))])
    watch.close()
    store.close()

    for address, why in {
        f"etcd://{host}/theirs?{as_agent}": "permission denied: name a user",
        f"etcd://{host}/mine?{tls}&user=agent&password-file={wrong}": "invalid user ID or password",
        f"etcd://{host}/mine?{tls}": "permission denied: name a user",
        f"etcd://{host}/mine": "wants TLS: give its authority|breaks off",
        f"etcd://{host}/mine?ca={certificates}/stranger.pem": "certificate that is not trusted",
        f"etcd://{host}/mine?ca={certificates}/ca.pem": "does it want a cert|breaks off",
        f"etcd://{host}/mine?{tls.replace('client.', 'stranger.')}": "does it want a|breaks off",
        f"etcd://{host}/mine?{as_agent.replace('client.', 'named.')}": "without a common name",
        f"etcd://{host.replace('127.0.0.1', 'localhost')}?{as_agent}": "not trusted.*localhost",
    }.items():
        store = open_store(address)
        for ask in (lambda store=store: store.get("k"), lambda store=store: store.put("k", {}, 0)):
            with pytest.raises(StoreError, match=why) as caught:
                ask()
            assert "\n" not in str(caught.value)
        store.close()


@pytest.mark.external("etcd", "openssl")
def test_tls_where_there_is_none(one_etcd: Etcd, certificates: Path, tmp_path: Path) -> None:
    store = open_store(f"etcd://{one_etcd.endpoints}?ca={certificates}/ca.pem")
    with pytest.raises(StoreError, match=r"speaks no TLS|does it speak TLS"):
        store.get("k")
    (tmp_path / "password").write_text("p")
    named = open_store(f"etcd://{one_etcd.endpoints}?user=u&password-file={tmp_path}/password")
    with pytest.raises(StoreError, match="authentication is not enabled: name no user"):
        named.get("k")


# What is no etcd


class Server:
    """Answers each connection's first request with these bytes and closes it; None: never."""

    def __init__(self, answer: bytes | None) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listening.getsockname()[1]}"
        self.asked = 0
        self._answer = answer
        self._kept: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listening.accept()
                self._kept.append(connection)
                if connection.recv(65536):
                    self.asked += 1
                if self._answer is not None:
                    connection.sendall(self._answer)
                    connection.close()

    def close(self) -> None:
        self.listening.close()
        for connection in self._kept:
            connection.close()


def http(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


STRANGE = [
    b"",
    b"\0\xff\n",
    b"SSH-2.0-OpenSSH_9.2\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    http(b""),
    http(b"<html>"),
    http(b"[]"),
    http(b"null"),
    http(b"1"),
    http(b"\xff"),
    http(b"[" * 100_000),
    http(b"404 page not found\n", "404 Not Found"),
    http(b"<html>", "502 Bad Gateway"),
    http(b'{"header":[]}'),
    http(b'{"kvs":1,"succeeded":true}'),
    http(b'{"kvs":[1],"responses":[]}'),
    http(b'{"kvs":[{"mod_revision":"x"}],"header":{"revision":"y"},"succeeded":true}'),
    http(b'{"kvs":[{"key":"aw==","value":"e30=?","mod_revision":"1"}],"header":{}}'),
    http(b'{"error":1}'),
    http(b'{"error":{}}'),
    http(b'{"error":"etcdserver: odd","code":"x"}'),
    http(b'{"error":"etcdserver: server stopped","code":14}', "503 Service Unavailable"),
    http(b'{"error":"etcdserver: mvcc: database space exceeded","code":8}', "429 Too Many"),
]


@pytest.mark.parametrize("answer", STRANGE, ids=lambda answer: repr(answer[-50:]))
def test_what_is_no_etcd_is_told(answer: bytes) -> None:
    server = Server(answer)
    store = EtcdStore(f"etcd://{server.address}", limit=20)
    for ask in (
        lambda: store.get("k"),
        lambda: store.list("k"),
        lambda: store.put("k", {}, 0),
        lambda: store.delete("k", 1),
        lambda: store.grant(1),
        lambda: store.watch("k"),
    ):
        if b'"succeeded":true' in answer or b'"code":14' in answer:
            break
        with pytest.raises(StoreError) as caught:
            ask()
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    store.close()
    server.close()


@pytest.mark.external("openssl")
def test_who_breaks_off_before_tls_stands(certificates: Path) -> None:
    """As one does that closes what it has not read all of."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    at_once = struct.pack("ii", 1, 0)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
                    connection.recv(1)
                    connection.close()

        threading.Thread(target=serve, daemon=True).start()
        port = listening.getsockname()[1]
        store = open_store(f"etcd://127.0.0.1:{port}?ca={certificates}/ca.pem")
        for ask in (lambda: store.get("k"), lambda: store.put("k", {}, 0)):
            with pytest.raises(StoreError, match=f"{port} breaks off: does it speak TLS"):
                ask()
        store.close()


def test_a_change_is_asked_once_if_it_may_have_been_made() -> None:
    """And a read of every member."""
    servers = [Server(b""), Server(b"")]
    store = EtcdStore(f"etcd://{','.join(server.address for server in servers)}")
    with pytest.raises(StoreError, match="may have been done or not"):
        store.put("k", {}, 0)
    assert [server.asked for server in servers] == [1, 0]
    with pytest.raises(StoreError, match=f"{servers[1].address} .*; {servers[0].address} "):
        store.get("k")
    assert [server.asked for server in servers] == [2, 1]
    for server in servers:
        server.close()


def test_one_that_says_nothing_is_not_waited_for_any_longer() -> None:
    server = Server(None)
    store = EtcdStore(f"etcd://{server.address}", limit=0.2)
    for ask in (lambda: store.get("k"), lambda: store.put("k", {}, 0)):
        with pytest.raises(StoreError, match="does not answer"):
            ask()
    server.close()


def test_one_that_is_not_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    store = open_store(f"etcd://127.0.0.1:{port},[::1]:{port},no.such.host.invalid")
    for ask in (lambda: store.get("k"), lambda: store.put("k", {}, 0), lambda: store.watch("")):
        with pytest.raises(StoreError, match="etcd does not answer: ") as caught:
            ask()
        assert "Connection refused" in str(caught.value)


@real
def test_another_endpoint_is_asked_if_one_cannot_be_reached(one_etcd: Etcd) -> None:
    server = Server(None)
    with socket.create_server(("127.0.0.1", 0)) as unused:
        dead = f"127.0.0.1:{unused.getsockname()[1]}"
    store = open_store(f"etcd://{dead},{server.address},{one_etcd.endpoints}/another")
    assert store.get("k") is None
    version = store.put("k", {}, None)
    assert store.get("k") == Entry({}, version)
    store.delete("k", version)
    server.close()
    store.close()


@real
def test_endpoints_of_two_clusters_are_not_one_store(one_etcd: Etcd, tmp_path: Path) -> None:
    other = Etcd(tmp_path, 1)
    wait_for(f"etcd://{other.endpoints}")
    store = open_store(f"etcd://{other.endpoints},{one_etcd.endpoints}")
    assert store.get("k") is None
    other.stop()
    with pytest.raises(StoreError, match="belongs to another cluster of etcd"):
        store.get("k")
    store.close()


# Addresses


def test_addresses() -> None:
    address = parse_address("etcd://a,b:1,[::1]:2/x/y")
    assert list(map(str, address.endpoints)) == ["a:2379", "b:1", "[::1]:2"]
    assert address.prefix == "x/y"
    assert parse_address("etcd://a").prefix == parse_address("etcd://a/").prefix == "vlockstep"


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("", "names no store"),
        ("a\0b", "names no store"),
        ("http://a", "is no address of etcd"),
        ("etcd://", "no HOST:PORT"),
        ("etcd://a,,b", "no HOST:PORT"),
        ("etcd://a:port", "no HOST:PORT"),
        ("etcd://a:70000", "no HOST:PORT"),
        ("etcd://a b", "no HOST:PORT"),
        ("etcd://" + "a" * 64, "no HOST:PORT"),
        ("etcd://[::1", "is no address of etcd"),
        ("etcd://a#x", "is no address of etcd"),
        ("etcd://a/x//y", "with which keys"),
        ("etcd://me:secret@a", "takes no password"),
        ("etcd://a?x=1", "no option 'x', but ca"),
        ("etcd://a?x", "is no address of etcd"),
        ("etcd://a?user=me", "both a user and a password-file"),
        ("etcd://a?user=me&password-file=/none", "no password for etcd can be read from /none: No"),
        ("etcd://a?ca=/none", "no certificate can be read from /none: No such file"),
        ("etcd://a?ca=/etc/passwd", "no certificate can be read from /etc/passwd"),
        ("etcd://a?cert=/none&key=/none", "ca=FILE"),
        ("etcd://a?ca=/none&key=/none", "both a cert and its key"),
    ],
)
def test_addresses_that_are_none(address: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        open_store(address)
    assert "secret" not in str(caught.value) and "\n" not in str(caught.value)
