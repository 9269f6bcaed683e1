"""A server behind a network: what protection costs its clients, and how long a failover takes.

redis-benchmark drives the guest `kv` over tap devices in a network namespace of the benchmark's
own, which takes root. A pair's two taps are on a hub: both replicas receive every frame.
"""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import mean, median

import zmq

from benchmarks import hops
from benchmarks.contest import Claim, Contestant, Report, interleave, ratio
from benchmarks.pairs import protected
from vlockstep.replay.entry import Kind, data_size
from vlockstep.replay.logfile import LogReader
from vlockstep.sim.sides import SIDES
from vlockstep.testing import Pair
from vlockstep.testing.counting import Counting
from vlockstep.testing.network import (
    GUEST,
    PRIMARY_NET,
    SECONDARY_NET,
    add_pair_network,
    add_tap,
    namespace,
)
from vlockstep.testing.usage import Usage

THROUGHPUT_TARGET = 0.8
LATENCY_TARGET, ROUND_TRIPS_TARGET = 0.3, 2.5
COST_TARGET, CORE_EACH_TARGET = 1.4, 0.75
PIPELINED_TARGET, SINGLE_TARGET = 25_000, 4_000
GAP_TARGET = 150.0
LOG_TARGET = 1.0

_PIPELINED = ["-t", "set,get", "-P", "16", "-c", "50", "-n", "100000"]
_PIPELINED_REQUESTS = 2 * 100_000
_SINGLE = ["-t", "set,get", "-P", "1", "-c", "50", "-n", "20000"]
_ONE_CLIENT = ["-t", "set,get", "-P", "1", "-c", "1", "-n", "4000"]


def throughput(directory: Path, rounds: int) -> Report:
    """Requests per second, mean of SET and GET. Two guests that have nothing to do with each other
    tell what a second busy core alone costs on this machine."""

    def two_at_once() -> float:
        with ThreadPoolExecutor() as pool:
            return min(pool.map(lambda _: _alone(_rate, _PIPELINED), range(2)))

    single, primary = "kv, unprotected", "kv, primary with a live secondary"
    figures = interleave(
        [
            Contestant(single, lambda: _alone(_rate, _PIPELINED)),
            Contestant(primary, lambda: _protected(directory, _rate, _PIPELINED)),
            Contestant("kv, two unprotected at once", two_at_once),
            Contestant("kv, unprotected, no pipelining", lambda: _alone(_rate, _SINGLE)),
        ],
        rounds,
    )
    one = figures["kv, unprotected, no pipelining"]
    claims = [
        Claim("protected / unprotected", ratio(figures, primary, single), THROUGHPUT_TARGET),
        Claim("unprotected, -P 16 -c 50", median(figures[single]), PIPELINED_TARGET, unit="/s"),
        Claim("unprotected, -P 1 -c 50", median(one), SINGLE_TARGET, unit="/s"),
    ]
    return Report("kv: requests per second (redis-benchmark -P 16 -c 50)", "/s", figures, claims)


def latency(directory: Path, rounds: int) -> Report:
    """The median that one client waits, in milliseconds. A reply of a protected guest waits for a
    round trip to the secondary, so what that costs on this machine is measured, too: bare, and by
    the threads that such a reply cannot do without."""
    single, primary = "kv, unprotected", "kv, primary with a live secondary"
    bare = "a bare ZeroMQ round trip in Python"
    echo, ways = "an echo from one thread", "an echo by the ways of a protected reply"
    figures = interleave(
        [
            Contestant(single, lambda: _alone(_wait, _ONE_CLIENT)),
            Contestant(primary, lambda: _protected(directory, _wait, _ONE_CLIENT)),
            Contestant(bare, _round_trip),
            Contestant(echo, hops.alone),
            Contestant(ways, hops.protected),
        ],
        rounds,
    )

    def added(before: str, after: str) -> list[float]:
        return [b - a for a, b in zip(figures[before], figures[after], strict=True)]

    def trips(waits: list[float]) -> float:
        return median(wait / trip for wait, trip in zip(waits, figures[bare], strict=True))

    waits, least = added(single, primary), added(echo, ways)
    claims = [
        Claim("added by protection", median(waits), LATENCY_TARGET, at_least=False, unit="ms"),
        Claim("the same, in bare round trips", trips(waits), ROUND_TRIPS_TARGET, at_least=False),
        Claim("by its ways alone, in these", trips(least), ROUND_TRIPS_TARGET, at_least=False),
    ]
    return Report("kv: latency (redis-benchmark -P 1 -c 1)", "ms", figures, claims)


def cost(directory: Path, rounds: int) -> Report:
    """CPU time for a request, in microseconds, by what the system has accounted to each replica.
    Where client and replicas have a core each, the busier replica limits the rate."""

    def alone() -> float:
        with lone("kv") as guest:
            return request_cpu([guest.pid])[0]

    def together() -> dict[str, float]:
        with server_pair(directory, "kv") as pair:
            replicas = pair.process("primary"), pair.process("secondary")
            found = dict(
                zip(SIDES, request_cpu([replica.pid for replica in replicas]), strict=True)
            )
            check_protected(pair)
            return found

    single, both = "kv, unprotected", "kv, protected"
    figures = interleave([Contestant(single, alone), Contestant(both, together)], rounds)
    primary, secondary = (figures[f"{both}, {side}"] for side in SIDES)
    busier = list(map(max, primary, secondary))
    claims = [
        Claim(
            "CPU for a request: primary / unprotected",
            ratio(figures, f"{both}, primary", single),
            COST_TARGET,
            at_least=False,
        ),
        Claim(
            "protected / unprotected, by CPU time, with a core each",
            ratio(figures | {"busier": busier}, single, "busier"),
            CORE_EACH_TARGET,
        ),
    ]
    return Report("kv: CPU for a request (redis-benchmark -P 16 -c 50)", "µs", figures, claims)


def request_cpu(pids: list[int]) -> list[float]:
    """What each process uses for a request, in microseconds."""
    _benchmark(_PIPELINED)  # so that all of it is translated
    before = [Usage.of(pid).cpu_seconds for pid in pids]
    _benchmark(_PIPELINED)
    after = [Usage.of(pid).cpu_seconds for pid in pids]
    return [(b - a) * 1e6 / _PIPELINED_REQUESTS for a, b in zip(before, after, strict=True)]


def log(directory: Path, rounds: int) -> Report:
    """Bytes of the log, against what was received and how much happened."""

    def measure() -> float:
        with server_pair(directory, "kv", logs=True) as pair:
            _benchmark(_PIPELINED)
            pair.crash("secondary")
            pair.crash("primary")
        file = pair.log("primary")
        received = events = 0
        for _, entries in LogReader(file).batches():
            events += len(entries)
            received += sum(
                data_size(value) for kind, _, _, value, _ in entries if kind == Kind.NET_READ
            )
        return file.stat().st_size / (1.3 * received + 12 * events)

    figures = interleave([Contestant("kv, pipelined", measure)], rounds)
    worst = max(figures["kv, pipelined"])
    claim = Claim(
        "log / (1.3 of the bytes received + 12 an event)", worst, LOG_TARGET, at_least=False
    )
    return Report("kv: size of the log", "", figures, [claim])


def failover(directory: Path, rounds: int) -> Report:
    """The longest that one of 5 clients waits when the primary is killed, in milliseconds."""
    longest_wait = "longest wait of 5 clients"

    def gap() -> dict[str, float]:
        with server_pair(directory, "kv") as pair, closing(Counting((GUEST, 6379), 5)) as clients:
            clients.wait(500)
            killed = time.time()
            pair.process("primary").signal(signal.SIGKILL)
            pair.wait_live("secondary")
            clients.wait(100)
            clients.stop()
            events = {e["event"]: e["time"] for e in pair.events("secondary")}
        detected, live = events["notice"] - killed, events["live"] - killed
        seconds = {
            longest_wait: clients.longest,
            "to the detection": detected,
            "from there to live": live - detected,
            "beyond that, for the slowest client": clients.longest - live,
        }
        return {name: value * 1000 for name, value in seconds.items()}

    figures = interleave([Contestant("SIGKILL", gap)], rounds)
    waits = median(figures[f"SIGKILL, {longest_wait}"])
    claim = Claim("longest wait, median", waits, GAP_TARGET, at_least=False, unit="ms")
    return Report("kv: failover as clients see it", "ms", figures, [claim])


Figure = Callable[[list[dict[str, str]]], float]
"""What is of interest in redis-benchmark's table: a row for each test."""


def _rate(rows: list[dict[str, str]]) -> float:
    return mean(float(row["rps"]) for row in rows)


def _wait(rows: list[dict[str, str]]) -> float:
    return mean(float(row["p50_latency_ms"]) for row in rows)


def _benchmark(arguments: list[str]) -> list[dict[str, str]]:
    command = ["redis-benchmark", "-h", GUEST, "--csv", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return list(csv.DictReader(done.stdout.splitlines()))


def _alone(figure: Figure, arguments: list[str]) -> float:
    with lone("kv"):
        return figure(_benchmark(arguments))


@contextmanager
def lone(name: str, *how: str) -> Iterator[subprocess.Popen[bytes]]:
    """An unprotected server, reached at `GUEST`, for as long as this thread is in a namespace. It
    is run, or that command and its options are `how`."""
    with namespace():
        add_tap("tap0")
        words = [*(how or ["run"]), name, "--net", "net=tap:tap0", "--", f"--ipv4={GUEST}/24"]
        command = [sys.executable, "-m", "vlockstep", *words]
        guest = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            assert guest.stdout is not None
            guest.stdout.readline()  # it says that it serves
            yield guest
        finally:
            guest.kill()
            guest.communicate()


def _protected(directory: Path, figure: Figure, arguments: list[str]) -> float:
    with server_pair(directory, "kv") as pair:
        found = figure(_benchmark(arguments))
        check_protected(pair)
        return found


def check_protected(pair: Pair) -> None:
    state = pair.process("primary").status["state"]
    assert state == "protected", f"the primary is {state} in the end"


@contextmanager
def server_pair(directory: Path, guest: str, logs: bool = False) -> Iterator[Pair]:
    """A protected server, reached at `GUEST`, for as long as this thread is in a namespace."""
    with namespace():
        add_pair_network()
        with protected(
            directory,
            guest,
            f"--ipv4={GUEST}/24",
            logs=logs,
            primary_options=PRIMARY_NET,
            secondary_options=SECONDARY_NET,
        ) as pair:
            yield pair


def _round_trip() -> float:
    """The median of a bare ZeroMQ round trip between two Python processes, in milliseconds."""
    with namespace(), closing(zmq.Context().socket(zmq.DEALER)) as socket:
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        peer = subprocess.Popen([sys.executable, "-c", _PEER, str(port)])
        try:
            socket.recv()
            times = []
            for _ in range(4000):
                start = time.perf_counter()
                socket.send(bytes(100))
                socket.recv()
                times.append(time.perf_counter() - start)
        finally:
            peer.kill()
            peer.wait()
    return median(times) * 1000


_PEER = """
import sys, zmq
socket = zmq.Context().socket(zmq.DEALER)
socket.connect("tcp://127.0.0.1:" + sys.argv[1])
socket.send(b"here")
while True:
    socket.send(socket.recv())
"""
