"""Common programs as clients of guests behind tap devices."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import pytest
import redis
from net.clients import GUEST, client, lan, program, protected, serving
from support import some

from vlockstep.testing.process import TIMEOUT

pytestmark = pytest.mark.external("ip")
MIB = 1 << 20
COUNTER = "counter:__rand_int__"  # of redis-benchmark

SESSION = r"""
SET a 1 => OK
GET a => "1"
GET => (error) ERR wrong number of arguments for 'get' command
MSET a 1 b => (error) ERR wrong number of arguments for 'mset' command
LPUSH a 1 => (error) ERR unknown command 'LPUSH', with args beginning with: 'a' '1' 
INCR a => (integer) 2
INCRBY a 40 => (integer) 42
DECRBY a 51 => (integer) -9
SET top 9223372036854775807 => OK
INCR top => (error) ERR increment or decrement would overflow
SET t text => OK
INCR t => (error) ERR value is not an integer or out of range
GET t => "text"
SET t other NX => (nil)
SET t more XX GET => "text"
SET t x NX XX => (error) ERR syntax error
SET t x EX => (error) ERR syntax error
SET t x EX 0 => (error) ERR invalid expire time in 'set' command
SET t x PX soon => (error) ERR value is not an integer or out of range
GET t => "more"
APPEND t " or less" => (integer) 12
STRLEN t => (integer) 12
APPEND n "\x00\r\n\"" => (integer) 4
GET n => "\x00\r\n\""
EXISTS a t missing a => (integer) 3
TYPE a => string
TTL a => (integer) -1
TTL missing => (integer) -2
EXPIRE a -1 => (integer) 1
PERSIST t => (integer) 0
DEL a t top n missing => (integer) 3
DBSIZE => (integer) 0
MSET a 1 b 2 => OK
MGET a missing b => 1) "1"|2) (nil)|3) "2"
KEYS [b-z] => 1) "b"
SCAN 0 MATCH a COUNT 100 => 1) "0"|2) 1) "a"
SCAN x => (error) ERR invalid cursor
CLIENT SETNAME me => OK
CLIENT GETNAME => "me"
CLIENT ID => (integer) 1
CLIENT KILL x => (error) ERR No such client
CLIENT MAIM => (error) ERR unknown subcommand 'MAIM'. Try CLIENT HELP.
CONFIG GET data* => 1) "databases"|2) "1"
SELECT 0 => OK
SELECT 1 => (error) ERR DB index is out of range
ECHO hello => "hello"
HELLO 4 => (error) NOPROTO unsupported protocol version
FLUSHALL => OK
GET b => (nil)
"""


@pytest.fixture(params=["alone", "protected"])
def how(request: pytest.FixtureRequest) -> Iterator[str]:
    with lan():
        yield request.param


@pytest.fixture
def kv(how: str, tmp_path: Path) -> Iterator[None]:
    with serving("kv", how, tmp_path):
        yield


def redis_cli(*arguments: object, stdin: bytes = b"", status: int = 0) -> str:
    return program("redis-cli", "-h", GUEST, *arguments, stdin=stdin, status=status)


@pytest.mark.external("ping")
def test_ping(how: str, tmp_path: Path) -> None:
    with serving("echo", how, tmp_path):
        for size in (0, 1, 56, 57, 1471, 1472):
            said = program("ping", "-n", "-c1", "-W10", "-Mdo", "-s", size, GUEST)
            assert f"{size + 8} bytes from {GUEST}" in said and " 0% packet loss" in said
        # Until there are 200 answers; it may have got more of them by then.
        said = program("ping", "-n", "-c200", "-i0.002", "-l3", "-w20", "-p", "a5", GUEST)
        numbers = [int(number) for number in re.findall(r"icmp_seq=(\d+) ", said)]
        assert len(numbers) >= 200 and sorted(numbers) == list(range(1, len(numbers) + 1))
        assert "DUP" not in said and "wrong" not in said


@pytest.mark.external("redis-cli")
def test_redis_cli_commands(kv: None) -> None:
    commands, replies = zip(
        *(line.split(" => ") for line in SESSION.split("\n")[1:-1]), strict=True
    )
    said = redis_cli("--no-raw", stdin="\n".join(commands).encode())
    assert said.splitlines() == "|".join(replies).split("|")


@pytest.mark.external("redis-cli")
def test_redis_cli_options(kv: None) -> None:
    lines = b"".join(b"SET key%d x\r\n" % n for n in range(1000))
    assert "errors: 0, replies: 1000" in redis_cli("--pipe", stdin=lines)
    said = redis_cli("--pipe", stdin=b"SET text x\r\nINCR text\r\nGET text\r\n", status=1)
    assert "errors: 1, replies: 3" in said
    found = redis_cli("--scan", "--pattern", "key99*").split()
    assert sorted(found) == sorted(["key99", *(f"key99{n}" for n in range(10))])
    assert "1001 strings with" in redis_cli("--bigkeys")
    assert redis_cli("-r", 3, "INCR", "counter") == "1\n2\n3\n"
    redis_cli("-x", "SET", "stdin", stdin=b"\0 bytes\r\n")
    assert redis_cli("GET", "stdin") == "\0 bytes\r\n\n"
    assert redis_cli("-e", "-n", 1, "PING") == "PONG\n"
    assert redis_cli("-e", "-3", "PING") == "PONG\n"
    redis_cli("-e", "NONE", status=1)
    assert redis_cli("SET", "later", "x", "EX", 1_000_000) == "OK\n"
    assert 0 < int(redis_cli("TTL", "later")) <= 1_000_000
    assert "db0:keys=1004,expires=1," in redis_cli("INFO")
    assert redis_cli("INFO", "replication").startswith("# Replication\r\nrole:master\r\n")
    assert redis_cli("QUIT") == "OK\n"


@pytest.mark.external("redis-benchmark", "redis-cli")
def test_redis_benchmark(kv: None) -> None:
    options = ["-t", "set,get,incr", "-P", 16, "-c", 50, "-n", 5000, "--csv"]
    said = program("redis-benchmark", "-h", GUEST, *options).splitlines()
    assert [line.split(",")[0] for line in said] == ['"test"', '"SET"', '"GET"', '"INCR"']
    # Whole pipelines are sent.
    assert 5000 <= int(redis_cli("GET", COUNTER)) <= 5008


@pytest.mark.external("redis-benchmark", "redis-cli")
@pytest.mark.parametrize("clients", some([1024], 200))
def test_redis_benchmark_with_many_clients(kv: None, clients: int) -> None:
    options = ["-t", "incr", "-c", clients, "-n", 4 * clients, "-q"]
    program("redis-benchmark", "-h", GUEST, *options)
    assert redis_cli("GET", COUNTER) == f"{4 * clients}\n"


@pytest.mark.external("redis-benchmark")
def test_redis_benchmark_through_a_crash(tmp_path: Path) -> None:
    command = ["redis-benchmark", "-h", GUEST, "-t", "incr", "-P", "16", "-c", "50", "-n", "60000"]
    with lan(), protected("kv", tmp_path) as pair, client() as caller:
        with subprocess.Popen([*command, "-q"], stdout=subprocess.DEVNULL) as benchmark:
            while int(caller.get(COUNTER) or 0) < 1000:
                assert benchmark.poll() is None
            pair.crash()
            assert benchmark.wait(60) == 0
        assert pair.wait_live() == 2
        assert caller.get(COUNTER) == b"60000"  # whole pipelines


def test_large_values(kv: None) -> None:
    with client() as caller:
        value = os.urandom(MIB)
        assert caller.set("large", value) and caller.get("large") == value
        assert caller.append("large", b"") == MIB
        for too_large in (value + b"x", bytes(3 * MIB)):
            with pytest.raises(redis.ResponseError, match="maximum allowed size"):
                caller.set("large", too_large)
            with pytest.raises(redis.ResponseError, match="maximum allowed size"):
                caller.append("large", b"x")
        with pytest.raises(redis.ResponseError, match="request exceeds maximum"):
            caller.mset({f"part{n}": value for n in range(5)})
        assert caller.get("large") == value
        assert caller.mget(["large", "part0", "large"]) == [value, None, value]
        pipeline = caller.pipeline(transaction=False)
        for _ in range(8):
            pipeline.get("large")
        assert pipeline.execute() == [value] * 8


@pytest.mark.parametrize("protocol", [2, 3])
def test_many_keys(kv: None, protocol: int) -> None:
    with client(protocol=protocol) as caller:
        pipeline = caller.pipeline(transaction=False)
        for number in range(500):
            pipeline.set(f"key:{number}", number).incr("sum", number).get("none")
        sums = [number * (number + 1) // 2 for number in range(500)]
        assert pipeline.execute() == [x for total in sums for x in (True, total, None)]
        keys = [f"key:{number}".encode() for number in range(500)]
        assert caller.mget(keys) == [b"%d" % number for number in range(500)]
        assert sorted(caller.scan_iter(match="key:*")) == sorted(keys)
        assert sorted(caller.scan_iter(match="key:*", count=7)) == sorted(keys)
        assert caller.dbsize() == 501
        assert caller.delete(*keys) == 500
        assert caller.pipeline(transaction=True).ping().incr("sum", 1).execute() == [
            True,
            sums[-1] + 1,
        ]
        assert caller.client_list()[0]["addr"].startswith("10.0.0.1:")
        assert caller.info()["db0"]["keys"] == 1
        assert caller.flushall()


def test_expiry(kv: None) -> None:
    """What is to expire does so by the guest's own clock."""
    with client() as caller:
        assert caller.set("short", 1, px=60) and caller.set("replaced", 1, px=1)
        assert caller.set("replaced", 2) and caller.set("long", 1, ex=1_000_000)
        left = 60
        while (now := caller.pttl("short")) != -2:
            assert 0 <= now <= left
            left = now
        assert caller.get("short") is None
        assert caller.ttl("replaced") == -1
        assert 0 < caller.ttl("long") <= 1_000_000
        assert caller.persist("long") and caller.ttl("long") == -1
        assert caller.exists("short", "replaced", "long") == 2
        assert caller.pexpire("long", 1)
        while caller.ttl("long") != -2:
            pass
        assert caller.set("long", 1, nx=True)


def test_many_connections(kv: None) -> None:
    callers = [client() for _ in range(50)]
    with ThreadPoolExecutor(len(callers)) as pool:
        replies = list(pool.map(lambda caller: [caller.incr("n") for _ in range(20)], callers))
    assert sorted(chain.from_iterable(replies)) == list(range(1, 1001))
    assert len({entry["addr"] for entry in callers[0].client_list()}) == 50
    for caller in callers[1:]:
        caller.close()
    while callers[0].info()["connected_clients"] > 1:
        pass
    callers[0].close()


@pytest.mark.external("socat")
def test_echo(how: str, tmp_path: Path) -> None:
    with serving("echo", how, tmp_path):
        data = os.urandom(MIB).hex()
        assert program("socat", "-t20", "-", f"TCP:{GUEST}:7", stdin=data.encode()) == data
        address = (GUEST, 7)
        with socket.create_connection(address, TIMEOUT) as sock, sock.makefile("rwb") as stream:
            for size in (1, 1460, 1461, 50_000):
                stream.write(data[:size].encode())
                stream.flush()
                assert stream.read(size) == data[:size].encode()
        with socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            datagrams.settimeout(TIMEOUT)
            datagrams.connect(address)
            for size in (0, 1, 512, 1471, 1472):
                datagrams.send(data[:size].encode())
                assert datagrams.recv(2000) == data[:size].encode()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((GUEST, 8), TIMEOUT)
