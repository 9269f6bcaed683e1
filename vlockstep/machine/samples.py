"""What there is to know of the bundled guests: what each is for, and its own options. The comment
at the top of each C source says the same; a test compares them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GuestOption:
    """`--NAME=VALUE` on a guest's command line. What has no `default` may be left out, unless the
    `meaning` says otherwise."""

    name: str
    value: str
    meaning: str
    default: str = ""


@dataclass(frozen=True)
class Sample:
    """`example` are arguments that show what it does; `disk` is the size of a disk that is large
    enough, as truncate(1) takes it; `port` is where it listens."""

    description: str
    options: tuple[GuestOption, ...] = ()
    example: tuple[str, ...] = ()
    disk: str = "1M"
    port: int | None = None


_NET = (
    GuestOption("ipv4", "ADDRESS/LENGTH", "its address, which it needs"),
    GuestOption("ipv4-gateway", "ADDRESS", "the way to other networks"),
    GuestOption(
        "tcp-keepalive",
        "S",
        "seconds of silence until a client is asked whether it is there; 0 for never",
        "300",
    ),
    GuestOption(
        "tcp-timeout", "S", "seconds without data until a connection is closed; 0 for never", "0"
    ),
)
_KV = (*_NET, GuestOption("requirepass", "TEXT", "the password that clients must give"))
SAMPLES = {
    "abi": Sample(
        "calls every hypercall, rightly and wrongly, and prints what comes back",
        (GuestOption("timer", "1", "also try vlockstep's timer hypercall", "0"),),
    ),
    "clock": Sample(
        "reads the clocks as fast as it can: what an exit costs",
        (
            GuestOption("reads", "N", "how often it reads RDTSC", "100000"),
            GuestOption("walltime", "N", "how often it makes the walltime hypercall", "1000"),
            GuestOption("puts", "N", "how many lines it prints", "0"),
        ),
        ("--reads=5000", "--puts=3"),
    ),
    "echo": Sample(
        "answers every TCP connection and UDP datagram to port 7 with what it says", _NET, port=7
    ),
    "fault": Sample(
        "raises the guest error that --kind=K names; without it lists the kinds",
        (GuestOption("kind", "K", "which error; without it the guest lists the kinds"),),
        ("--kind=resume",),
    ),
    "hello": Sample(
        "greets, repeats its command line, and halts with --status=N",
        (GuestOption("status", "N", "its exit status", "0"),),
        ("good", "morning"),
    ),
    "kv": Sample("a server of the Redis protocol, on TCP port 6379", _KV, port=6379),
    "kv-disk": Sample(
        "kv with a log on its disk, from which it recovers", _KV, disk="2M", port=6379
    ),
    "ledger": Sample(
        "keeps a chained ledger on console and disk, so that any lost input shows",
        (
            GuestOption("lines", "N", "how many lines, each a block on the disk", "200"),
            GuestOption("work", "N", "rounds of computation for each line", "20000"),
            GuestOption("pause", "MS", "milliseconds to sleep between lines", "10"),
        ),
        ("--lines=5",),
    ),
    "preempt": Sample(
        "two threads race while timer interrupts switch between them",
        (
            GuestOption("work", "N", "loop iterations of each thread", "4000000"),
            GuestOption("period", "NS", "of the timer, in nanoseconds", "1000000"),
            GuestOption("tsc", "1", "the threads read RDTSC from time to time, too", "0"),
        ),
        ("--work=100000",),
    ),
    "sort": Sample(
        "pure computation: sorts random numbers and prints their hash",
        (
            GuestOption("n", "N", "elements, at most 1048576", "1000000"),
            GuestOption("rounds", "R", "how often", "3"),
            GuestOption("seed", "S", "of the generator", "1"),
        ),
        ("--n=10000", "--rounds=1"),
    ),
    "stream": Sample(
        "sends a stream of numbers without end to whoever connects to TCP port 7007",
        (GuestOption("port", "N", "where it listens", "7007"), *_NET),
        port=7007,
    ),
    "tally": Sample(
        "answers numbered requests in raw frames, each number once",
        (GuestOption("requests", "N", "the request after these ends the guest", "10"),),
    ),
    "web": Sample(
        "an HTTP server with a page that tells which replica serves it",
        (*_NET, GuestOption("port", "N", "where it listens", "80")),
        port=80,
    ),
    "writer": Sample(
        "writes its memory without end, checks it, and tells for how long it was held",
        (
            GuestOption("touch", "MIB", "memory that it fills once, and checks", "8"),
            GuestOption("rewrite", "MIB", "as much of that is written again in each round", "1"),
            GuestOption("rounds", "N", "of rewriting until it ends; 0 for no end", "1000"),
            GuestOption("seconds", "S", "after which it ends; 0 for no end", "0"),
            GuestOption("beat", "MS", "between lines that tell how far it is; 0 for none", "0"),
        ),
        ("--rounds=20",),
    ),
}
