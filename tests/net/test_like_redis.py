"""kv answers as redis-server does: the same commands to both, and what each says is compared."""

from __future__ import annotations

import random
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from commands import wait_until
from net.clients import GUEST, alone, lan
from net.resp import Connection, Reply, converse
from support import some

pytestmark = pytest.mark.external("ip", "redis-server")
OURS, THEIRS = (GUEST, 6379), ("127.0.0.1", 6379)


@contextmanager
def redis_server(directory: Path) -> Iterator[None]:
    options = ["--save", "", "--databases", "1", "--bind", THEIRS[0], "--dir", str(directory)]
    process = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
    try:
        wait_until(answers)
        yield
    finally:
        process.kill()
        process.wait()


def answers() -> bool:
    try:
        return converse(THEIRS, b"PING\r\nQUIT\r\n") == b"+PONG\r\n+OK\r\n"
    except OSError:
        return False


@pytest.fixture
def both(tmp_path: Path) -> Iterator[None]:
    with lan(), redis_server(tmp_path), alone("kv"):
        yield


# What may differ

Normal = Callable[[Reply], object]


def kind(reply: Reply) -> object:
    """Of what tells about the server or its clients. RESP3 has a kind of its own for text."""
    return reply.kind.replace("=", "$"), reply.value is None


def in_any_order(reply: Reply) -> object:
    return reply.kind, sorted(reply.value) if isinstance(reply.value, tuple) else reply.value


def pairs_in_any_order(reply: Reply) -> object:
    if not isinstance(reply.value, tuple) or reply.kind not in "*%":
        return reply
    return reply.kind, sorted(zip(reply.value[::2], reply.value[1::2], strict=True))


def one_scan(reply: Reply) -> object:
    """Commands have it done in one step."""
    if not isinstance(reply.value, tuple):
        return reply
    cursor, keys = reply.value
    return cursor, in_any_order(keys)


@dataclass(frozen=True, eq=False)
class Near:
    """A time, which both servers were asked for at other times, and may have been set at such."""

    value: int
    tolerance: int

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Near) and abs(self.value - other.value) <= self.tolerance


def near(second: int) -> Normal:
    def normal(reply: Reply) -> object:
        if reply.kind != ":" or not isinstance(reply.value, bytes) or int(reply.value) < 0:
            return reply
        return Near(int(reply.value), 1800 * second)

    return normal


def beginning(reply: Reply) -> object:
    """Of COMMAND INFO: what comes after name, arity, flags and keys is empty."""
    if not isinstance(reply.value, tuple):
        return reply
    return [
        [in_any_order(part) for part in each.value[:6]] if each.value else each
        for each in reply.value
        if not isinstance(each.value, bytes)
    ]


EXCEPTIONS: dict[bytes, Normal] = {
    b"CLIENT|ID": kind,
    b"CLIENT|INFO": kind,
    b"CLIENT|LIST": kind,
    b"CLIENT|HELP": kind,
    b"COMMAND": kind,
    b"COMMAND|HELP": kind,
    b"COMMAND|INFO": beginning,
    b"CONFIG|HELP": kind,
    b"CONFIG|GET": pairs_in_any_order,
    b"DBSIZE": kind,  # what has expired counts until somebody looks
    b"HELLO": kind,
    b"INFO": kind,
    b"KEYS": in_any_order,
    b"PEXPIRETIME": near(1000),
    b"EXPIRETIME": near(1),
    b"PTTL": near(1000),
    b"TTL": near(1),
    b"RANDOMKEY": kind,
    b"SCAN": one_scan,
    b"SCAN ON": kind,  # or not all in one step: in an order of each server's own
    b"TIME": kind,
}
LIMITS = b"ERR string exceeds maximum allowed size"  # 1 MiB here, 512 MiB there


def name_of(command: Sequence[bytes]) -> bytes:
    name = command[0].upper()
    if name in (b"CLIENT", b"COMMAND", b"CONFIG") and len(command) > 1:
        return name + b"|" + command[1].upper()
    if name == b"SCAN" and (command[1:2] != [b"0"] or b"1000" not in command):
        return b"SCAN ON"
    return name


class Session:
    """One connection to each server; knows which commands the replies of EXEC belong to."""

    def __init__(self) -> None:
        self._ends = Connection(OURS), Connection(THEIRS)
        self._queued: list[Sequence[bytes]] = []

    def close(self) -> None:
        for end in self._ends:
            end.close()

    def run(self, commands: Sequence[Sequence[bytes]]) -> None:
        for end in self._ends:
            end.send(commands)
        for command in commands:
            ours, theirs = (end.read() for end in self._ends)
            assert self._normal(command, ours) == self._normal(command, theirs), (
                command,
                ours,
                theirs,
            )
            if theirs == ("+", b"QUEUED"):
                self._queued.append(command)
            elif name_of(command) in (b"EXEC", b"DISCARD", b"RESET"):
                self._queued.clear()

    def _normal(self, command: Sequence[bytes], reply: Reply) -> object:
        if name_of(command) == b"EXEC" and isinstance(reply.value, tuple):
            parts = zip(self._queued, reply.value, strict=True)
            return reply.kind, [self._normal(*part) for part in parts]
        if reply.kind == "-" and isinstance(reply.value, bytes) and reply.value.startswith(LIMITS):
            return LIMITS
        return EXCEPTIONS.get(name_of(command), tuple)(reply)


# What is asked

SHAPES = """
APPEND key value
AUTH text | AUTH default text
CLIENT GETNAME | CLIENT ID | CLIENT INFO | CLIENT LIST | CLIENT SETNAME text | CLIENT
CLIENT KILL ID 999999999 | CLIENT KILL 1.2.3.4:5 | CLIENT KILL TYPE pubsub | CLIENT LIST TYPE normal
COMMAND INFO name name | COMMAND GETKEYS MSET key value key value | COMMAND GETKEYS name key value
CONFIG GET databases | CONFIG GET save appendonly | CONFIG SET text text
COPY key key | COPY key key REPLACE | COPY key key DB number
DBSIZE | ECHO value | PING | PING value | TIME | INFO name | SELECT number
DECR key | DECRBY key number | INCR key | INCRBY key number
DEL key key | UNLINK key | EXISTS key key key | TOUCH key key | TYPE key
EXPIRE key seconds | PEXPIRE key milliseconds | EXPIREAT key moment | PEXPIREAT key momentms
EXPIRE key seconds condition | PEXPIRE key milliseconds condition
EXPIREAT key moment condition condition | PEXPIREAT key momentms condition
EXPIRETIME key | PEXPIRETIME key | TTL key | PTTL key | PERSIST key
FLUSHALL | FLUSHDB | FLUSHALL text
GET key | GETDEL key | GETSET key value | STRLEN key | MGET key key key
GETEX key | GETEX key PERSIST | GETEX key EX seconds | GETEX key PXAT momentms
GETRANGE key index index | SUBSTR key index index | SETRANGE key index value
HELLO 2 | HELLO 3 | HELLO | HELLO 3 AUTH default text | HELLO 3 SETNAME text
INCRBYFLOAT f float | INCRBYFLOAT f float | INCRBYFLOAT key float | INCRBYFLOAT key value
SET f float | SET f number | INCRBYFLOAT f float | INCRBYFLOAT f float | EXEC | EXEC
KEYS pattern | RANDOMKEY | SCAN 0 COUNT 1000 | SCAN 0 COUNT 1000 MATCH pattern TYPE string
SCAN 0 TYPE list COUNT 1000 | SCAN index
MSET key value key value | MSETNX key value key value | SETNX key value
MULTI | EXEC | EXEC | EXEC | DISCARD | WATCH key | WATCH key key | UNWATCH | RESET
RENAME key key | RENAMENX key key
SET key value | SET key value | SET key float | SET key value NX | SET key value XX GET
SET key value KEEPTTL | SET key value EX seconds GET | SET key value PXAT momentms
SET key value NX GET | SET key value EXAT moment | SETEX key seconds value
PSETEX key milliseconds value
text text value | CLIENT text | COMMAND text | CLIENT HELP | COMMAND HELP | CONFIG HELP
"""
NUMBERS = b"0 1 -1 7 -12 9223372036854775807 -9223372036854775808 9223372036854775808 1.5 +3 007 x"
JUNK = b"NX XX GT LT GET EX KEEPTTL PERSIST REPLACE -1 0 x 9223372036854775807".split()
FLOATS = b"""
inf -INF nan infinity 1e4932 -1e4932 1.2e4932 1e-4950 3.6e-4951 1e-4960 . 1e 1e+ +-1 0x 0x.p1 -0
0x1.8p3 -0X.8P-1 0x1p-16445 0x1p-16446 0x1p16383 0x1p99999999 1e99999999999 0e99999999999 3.0e3
18446744073709551615 18446744073709551616.5 9007199254740993 0.1 0.2 1.00000000000000000005
""".split()
NAMES = b"get SET mget Del client exec info keys scan expire config hello nothing".split()


class Script:
    """Random commands. No key expires while they run, but at once."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._shapes = [
            shape for line in SHAPES.splitlines() for shape in line.split(" | ") if line
        ]
        self._lifetimes = 0

    def batch(self) -> list[list[bytes]]:
        commands = [self.command() for _ in range(self._random.choice([1, 3, 40]))]
        if self._random.random() < 0.3:
            commands += [[b"MULTI"], *(self.command() for _ in range(4)), [b"EXEC"]]
        return commands

    def command(self) -> list[bytes]:
        chance = self._random
        words = [self._argument(word) for word in chance.choice(self._shapes).split()]
        if chance.random() < 0.1:
            words[chance.randrange(len(words))] = chance.choice(JUNK)
        if chance.random() < 0.05:
            del words[chance.randrange(len(words))]
        if chance.random() < 0.05:
            words.append(chance.choice(JUNK))
        words = words or [b""]
        if chance.random() < 0.1:
            words[0] = words[0].swapcase()
        return words

    def _argument(self, word: str) -> bytes:
        make = getattr(self, f"_{word}", None)
        return bytes(make()) if make else word.encode()

    def _key(self) -> bytes:
        return self._random.choice([b"a", b"b", b"c", b"key:1", b"\r\n\0", b""])

    def _value(self) -> bytes:
        chance = self._random
        return chance.choice(
            [b"", b"text", chance.randbytes(chance.randrange(700)), self._number()]
        )

    def _number(self) -> bytes:
        chance = self._random
        return chance.choice([*NUMBERS.split(), b"%d" % chance.randrange(-1000, 1000)])

    def _index(self) -> bytes:
        return b"%d" % self._random.choice([*range(-9, 9), 1 << 40, -(1 << 40), 600, (1 << 63) - 1])

    def float(self) -> bytes:
        """Mostly such as people write, and some at the edges of what there is."""
        chance = self._random
        if chance.random() < 0.1:
            return chance.choice(FLOATS)
        digits = "".join(chance.choices("0123456789", k=chance.randrange(1, 25)))
        if chance.random() < 0.7:
            digits += "." + "".join(chance.choices("0123456789", k=chance.randrange(0, 25)))
        if chance.random() < 0.3:
            digits += f"e{round(chance.gauss(0, chance.choice([5, 30, 2500])))}"
        return (chance.choice(["", "-", "+"]) + digits).encode()

    _float = float

    def _text(self) -> bytes:
        return self._random.choice([b"", b"word", b"two words", b"\xff\r\n", b"x" * 60])

    def _name(self) -> bytes:
        return self._random.choice(NAMES)

    def _pattern(self) -> bytes:
        return b"".join(
            self._random.choices(
                [b"*", b"?", b"a", b"[a-c]", b"[^b]", b"key", b":", b"\\", b"["], k=3
            )
        )

    def _condition(self) -> bytes:
        return self._random.choice([b"NX", b"XX", b"GT", b"LT", b"nx", b"no"])

    def _seconds(self) -> bytes:
        """Each is hours from all others, as both servers have other clocks."""
        self._lifetimes += 1
        return b"%d" % self._random.choice(
            [0, -1, 1 << 61, 7200 * (self._lifetimes * 7919 % 100_003)]
        )

    def _milliseconds(self) -> bytes:
        return self._seconds() + b"000"

    def _moment(self) -> bytes:
        return b"%d" % self._random.choice(
            [0, -5, 1, 2_000_000_000, 4_000_000_000 + self._random.randrange(100)]
        )

    def _momentms(self) -> bytes:
        return self._moment() + b"%03d" % self._random.randrange(1000)


def compare(seed: int, batches: int) -> None:
    script, chance = Script(seed), random.Random(seed)
    with ExitStack() as stack:
        sessions = [stack.enter_context(closing(Session())) for _ in range(3)]
        for _ in range(batches):
            chance.choice(sessions).run(script.batch())


WATCHING = """
1 SET a 1
0 WATCH a b
1 SET a 2
0 MULTI
0 SET a 3
0 EXEC
0 GET a
0 WATCH b
1 GET b
0 MULTI
0 SET a 4
0 EXEC
0 WATCH a
0 SET a 5
0 MULTI
0 EXEC
0 WATCH nothing
1 DEL nothing
0 MULTI
0 EXEC
0 WATCH a
1 EXPIRE a 100000
0 MULTI
0 EXEC
0 WATCH a
1 PERSIST a
0 UNWATCH
0 MULTI
0 EXEC
0 WATCH a
1 RENAME a b
0 MULTI
0 EXEC
0 WATCH b none
1 FLUSHALL
0 MULTI
0 EXEC
0 WATCH none
1 FLUSHALL
0 MULTI
0 EXEC
0 WATCH a
1 SET a 1 PXAT 1
0 MULTI
0 EXEC
0 MULTI
0 WATCH a
0 MULTI
0 NOTHING
0 PING
0 EXEC
0 WATCH a
0 MULTI
0 DISCARD
1 SET a 1
0 MULTI
0 INCR a
0 SET a x
0 INCR a
0 GET a
0 EXEC
0 EXEC
0 DISCARD
"""


def test_watched_keys(both: None) -> None:
    with closing(Session()) as first, closing(Session()) as second:
        for line in WATCHING.split("\n")[1:-1]:
            who, *words = line.split()
            (first, second)[int(who)].run([[word.encode() for word in words]])


QUIT = b"QUIT\r\n"
CONVERSATIONS = {
    "words in quotes": rb"""SET q "a b"
GET q
SET q "\x00\xfF\n\r\t\b\a\"\\\q\x0" XX
GET q
set 'q' 'it\'s \n'
GET q
SET   q\ta
GET q
""
ECHO ""
SET q a"b c"
GET q
""",
    "a quote that is not closed": b'SET q "a\r\nGET q\r\n',
    "a quote that closes in a word": b"SET q 'a'b\r\nGET q\r\n",
    "lines without words": b"\r\n \r\n\nPING\n \t\r\n",
    "names": b"""CLIENT GETNAME
CLIENT SETNAME me
CLIENT GETNAME
CLIENT SETNAME "not me"
CLIENT GETNAME
RESET
CLIENT GETNAME
HELLO 3 AUTH default x SETNAME me
CLIENT GETNAME
CLIENT SETNAME ""
CLIENT GETNAME
HELLO 4
HELLO x
HELLO 2 SETNAME
HELLO 2 AUTH nobody x
""",
    "the empty key": b"""FLUSHALL
SET "" 1
KEYS *
KEYS **
KEYS ""
SCAN 0 COUNT 100000 MATCH *
SCAN 0 COUNT 100000 MATCH ***
""",
    "cursors": b"""FLUSHALL
SCAN 1099511627776 COUNT 100000
SCAN 18446744073709551615 COUNT 100000
SCAN 18446744073709551616
SCAN -1 COUNT 100000
SCAN "" COUNT 100000
SCAN +
SCAN " 1"
SCAN 1x
""",
    "replies that are not wanted": b"""CLIENT REPLY SKIP
SET a 1
GET a
CLIENT REPLY OFF
SET a 2
GET nothing extra
CLIENT REPLY SKIP
MULTI
EXEC
CLIENT REPLY ON
GET a
CLIENT REPLY SKIP
CLIENT REPLY OFF
CLIENT REPLY NEVER
CLIENT REPLY ON
""",
    "a password": b"""AUTH word
CONFIG SET requirepass word
GET a
RESET
GET a
GET
MULTI
CONFIG GET requirepass
HELLO 3
AUTH other
AUTH other word
AUTH default wo
HELLO 3 AUTH default word2
AUTH default word
CONFIG GET requirepass
AUTH word
CONFIG SET requirepass "" requirepass
CONFIG SET requirepass ""
RESET
PING
AUTH word
AUTH default word
""",
    "one's own end": b"CLIENT KILL TYPE normal SKIPME no\r\nPING\r\n",
    "a browser's POST": b"POST / HTTP/1.1\r\nHost: x\r\n\r\nFLUSHALL\r\n",
    "no command": b"*1\r\n$4\r\nNONE\r\n*-1\r\n*0\r\n*1\r\n$0\r\n\r\n",
}


def test_conversations(both: None) -> None:
    for name, said in CONVERSATIONS.items():
        ours, theirs = (converse(address, said + QUIT) for address in (OURS, THEIRS))
        if name == "names":  # HELLO tells a client's number, and the version
            own = re.compile(rb"(?<=id\r\n):\d+|\$\d\r\n7\.0\.\d+")
            ours, theirs = (own.sub(b"", each) for each in (ours, theirs))
        assert ours == theirs, name


def test_a_web_page_gives_no_commands(both: None) -> None:
    for address in (OURS, THEIRS):
        said = b"SET kept 1\r\nGET /?kept HTTP/1.1\r\nHost: x\r\n\r\nFLUSHALL\r\n"
        assert b"+OK" not in converse(address, said)[len(b"+OK\r\n") :]
        assert converse(address, b"POST / HTTP/1.1\r\n\r\nFLUSHALL\r\n") == b""
        assert converse(address, b"GET kept\r\n" + QUIT) == b"$1\r\n1\r\n+OK\r\n"


def compare_sums(seed: int, count: int) -> None:
    script = Script(seed)
    with closing(Session()) as session:
        for _ in range(count):
            session.run(
                [
                    [b"SET", b"sum", script.float()],
                    *([b"INCRBYFLOAT", b"sum", script.float()] for _ in range(4)),
                    [b"GET", b"sum"],
                ]
            )


def test_sums_to_the_last_digit(both: None) -> None:
    compare_sums(1, 200)


@pytest.mark.parametrize("seed", some([1], 2, 3))
def test_random_commands(both: None, seed: int) -> None:
    compare(seed, batches=100)


@pytest.mark.long
def test_other_random_commands(both: None, any_seed: int) -> None:
    compare(any_seed, batches=2000)
    compare_sums(any_seed, 5000)
