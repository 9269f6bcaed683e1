"""`vlockstep demo --guest kv`: clients on a network, with passt and without it."""

from __future__ import annotations

import io
import json
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from commands import run_command
from demo_command import judged

from vlockstep.demo import ping, proof, redis
from vlockstep.demo.plan import Plan, make_plan
from vlockstep.demo.story import Fate, Story
from vlockstep.demo.visits import Gap, Visitor, longest
from vlockstep.testing.process import command, environment

passt = pytest.mark.external("passt")

TCP_CHECKS = ["failover", "clients", "counters", "console", "execution"]
PING_CHECKS = ["failover", "answers", "console", "execution"]


# The real thing


@passt
def test_tcp_clients_do_not_notice() -> None:
    done = run_command("demo", "--guest", "kv", "--kill", "time:1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert judged(done.stdout) == dict.fromkeys(TCP_CHECKS, "ok")
    assert "A is killed at time:1" in done.stdout
    assert re.search(
        r"^longest gap that a client saw: \d+ ms = \d+ ms detection and promotion, \d+ ms rest",
        done.stdout, re.M,
    )  # fmt: skip
    assert re.search(
        r"^switch: \d+ frames from passt, .* from A, .* from B, .* dropped$", done.stdout, re.M
    )
    assert "vlockstep run web --net" in done.stdout
    assert done.stdout.endswith("no client noticed that the guest's primary was killed\n")
    assert done.stderr == ""


@passt
def test_a_paused_primary_sends_no_frame_afterwards(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    done = run_command("demo", "--guest", "kv", "--pause", "--json", "--seed", 3, "--keep", kept)
    assert done.returncode == 0, done.stdout + done.stderr
    facts = json.loads(done.stdout)
    names = [check["name"] for check in facts["checks"] if check["ok"]]
    assert names == [*TCP_CHECKS, "old primary"]
    network = facts["network"]
    assert (network["passt"], network["without"], network["clients"]) == (True, "", 4)
    assert network["longest_gap_ms"] == pytest.approx(facts["failover_ms"] + network["rest_ms"])
    assert {port["name"] for port in network["ports"] if not port["guest"]} == {"passt"}
    assert sum(port["received"] > 0 for port in network["ports"]) == 3
    for file in ("primary.pcap", "secondary.pcap", "secondary.vlog"):
        assert (kept / file).stat().st_size > 1000


def test_without_passt_a_host_pings_the_guest(tmp_path: Path) -> None:
    done = run_command("demo", "--guest", "kv", "--kill", "time:1", PATH=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert judged(done.stdout) == dict.fromkeys(PING_CHECKS, "ok")
    assert "the package `passt` is not installed" in done.stdout
    assert "detection and promotion" in done.stdout
    assert done.stdout.endswith("the guest did not notice that its primary was killed\n")


def test_a_passt_that_does_not_start(tmp_path: Path) -> None:
    fake = tmp_path / "passt"
    fake.write_text("#!/bin/sh\necho no such luck >&2\nexit 3\n")
    fake.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = run_command("demo", "--guest", "kv", "--kill", "time:0.5", "--json", PATH=path)
    assert done.returncode == 0, done.stdout + done.stderr
    network = json.loads(done.stdout)["network"]
    assert not network["passt"]
    assert "no such luck" in network["without"]


# Nothing is left


def descendants(pid: int) -> Iterator[int]:
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in file.read_text().split():
            yield int(child)
            yield from descendants(int(child))


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_no_process_is_left_behind(number: signal.Signals, status: int) -> None:
    with subprocess.Popen(
        command("demo", "--guest", "kv", "--kill", "time:99"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(),
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if b"answers" in line:
                    break
            started = [os.pidfd_open(pid) for pid in descendants(process.pid)]
            assert len(started) >= 4  # the guard, the switch, and two replicas
            process.send_signal(number)
            assert process.wait(20) == status
        finally:
            process.kill()
    poll = select.poll()
    for handle in started:
        poll.register(handle, select.POLLIN)
    while started:
        ended = poll.poll(10_000)
        assert ended, f"{len(started)} processes are left"
        for handle, _ in ended:
            poll.unregister(handle)
            os.close(handle)
            started.remove(handle)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--guest", "kv", "--kill", "write:5"), "write time:SECONDS (--kill PLACE)"),
        (("--guest", "kv", "--", "--ipv4=10.0.0.1/8"), "the demo gives kv its options"),
        (("--guest", "web"), "the demo shows kv: name that (--guest IMAGE)"),
    ],
)
def test_refusals(options: tuple[str, ...], message: str) -> None:
    done = run_command("demo", *options)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stdout == ""


# What the proof rejects


def plan_of(place: str | None = None, seed: int = 1) -> Plan:
    return make_plan("kv", [], lines=1, memory=16, place=place, pause=False, seed=seed)


def story_of(struck: float = 10.0, live: float = 10.1) -> Story:
    story = Story(plan_of())
    story.fault = Fate(struck, -9)
    story.live = {"time": live}
    return story


def client_of(
    replies: list[redis.Reply], value: redis.Reply | None, times: tuple[float, ...] = (9.0, 11.0)
) -> redis.RedisVisitor:
    client = redis.RedisVisitor(1, 0)
    client.replies, client.value, client.answered = replies, value, list(times)
    return client


def test_every_incr_counts_once() -> None:
    assert proof.counters([client_of([1, 2, 3], b"3"), client_of([1], b"1")]).ok


@pytest.mark.parametrize(
    ("replies", "value", "found"),
    [
        ([1, 3], b"3", "INCR number 2 was 3"),  # one more than was asked for
        ([1, 2, 2], b"2", "INCR number 3 was 2"),  # one is lost
        ([2, 3], b"3", "INCR number 1 was 2"),
        ([1, b"2"], b"2", "INCR number 2 was b'2'"),
        ([1, 2], b"1", "GET says b'1' after 2"),
        ([1, 2], b"3", "GET says b'3' after 2"),
        ([1, 2], None, "GET says None after 2"),
    ],
)
def test_an_incr_that_was_lost_or_repeated(
    replies: list[redis.Reply], value: redis.Reply | None, found: str
) -> None:
    check = proof.counters([client_of([1], b"1"), client_of(replies, value)])
    assert not check.ok
    assert found in check.text


@pytest.mark.parametrize(
    ("times", "trouble", "found"),
    [
        ((9.0, 11.0), "Connection reset by peer", "client 1: Connection reset by peer"),
        ((10.2, 11.0), "", "no answer before the fault"),
        ((9.0, 9.5), "", "no answer from B"),
        ((), "refused", "client 1: refused (and 2 more)"),
    ],
)
def test_a_client_that_was_not_there_all_the_time(
    times: tuple[float, ...], trouble: str, found: str
) -> None:
    client = client_of([1, 2], b"2", times)
    client.trouble = trouble
    check = proof.clients([client_of([1, 2], b"2"), client], story_of())
    assert not check.ok
    assert found in check.text
    assert proof.clients([client_of([1, 2], b"2")], story_of()).ok
    assert not proof.clients([client_of([1, 2], b"2")], Story(plan_of())).ok


@pytest.fixture
def pinger() -> ping.PingVisitor:
    """Two pings were sent."""
    own, guest = IPv4Address("10.0.2.2"), IPv4Address("10.0.2.15")
    visitor = ping.PingVisitor("tcp://127.0.0.1:1", own, guest, "02:00:00:00:00:01")
    visitor.sent = 2
    return visitor


def test_pings_may_be_lost_and_repeated_but_not_changed(pinger: ping.PingVisitor) -> None:
    for _ in range(2):
        pinger._answer(ping._echo(0, 1))
    pinger.answered = [9.0, 11.0]
    assert (pinger.lost, pinger.counts, pinger.wrong) == (1, {1: 2}, 0)
    check = proof.answers(pinger, story_of())
    assert check == proof.Check(
        "answers", True, "1 of 2 pings answered, 1 of them twice, none wrongly"
    )
    for wrong in (ping._echo(0, 2), ping._echo(8, 1), ping._echo(0, 1)[:-1] + b"?", b""):
        pinger._answer(wrong)
    assert pinger.wrong == 4
    assert not proof.answers(pinger, story_of()).ok


def test_a_log_that_cannot_be_replayed() -> None:
    assert proof.execution("it differs") == proof.Check("execution", False, "it differs")


# Parts


@pytest.mark.parametrize(
    ("said", "reply"),
    [(b":7\r\n", 7), (b"$2\r\n17\r\n", b"17"), (b"$0\r\n\r\n", b"")],
)
def test_replies(said: bytes, reply: redis.Reply) -> None:
    asked, stream = conversation(said)
    assert redis.ask(stream, b"GET", b"key") == reply
    assert asked() == b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n"


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (b"-ERR no\r\n", "answers '-ERR no'"),
        (b":x\r\n", "answers ':x'"),
        (b"$-1\r\n", "answers '\\$-1'"),
        (b":7", "closed the connection"),
        (b"", "closed the connection"),
    ],
)
def test_answers_that_are_errors(said: bytes, found: str) -> None:
    with pytest.raises(redis.RedisError, match=found):
        redis.ask(conversation(said)[1], b"INCR", b"key")


def conversation(said: bytes) -> tuple[Callable[[], bytes], BinaryIO]:
    """What was asked, and a stream on which this is said."""
    sent = io.BytesIO()
    pair: Any = io.BufferedRWPair(io.BytesIO(said), sent)
    return sent.getvalue, pair


def test_gaps() -> None:
    one, other = Visitor("one"), Visitor("other")
    one.answered, other.answered = [1.0, 2.0, 2.5, 4.0], [2.0, 4.5, 7.5]
    assert longest([one, other]) == Gap(4.5, 7.5)
    assert longest([one, other], at=2.4) == Gap(2.0, 4.5)
    assert longest([one], at=2.4) == Gap(2.0, 2.5)
    assert longest([one], beside=3.0) == Gap(1.0, 2.0)
    assert longest([Visitor("new")]) is None
    assert "longest gap 1500 ms" in one.line()


def test_a_seed_repeats_the_place() -> None:
    places = {plan_of(seed=seed).place for seed in range(20)}
    assert len(places) > 10
    assert plan_of(seed=3) == plan_of(seed=3)
    assert plan_of().guest == "kv"


def test_b_may_notice_before_us_that_a_is_dead() -> None:
    lost = {"event": "notice", "time": 9.9, "text": "the connection to the primary was lost"}
    story = story_of(struck=10.0, live=9.98)
    story.hear("B", [lost])
    assert story.failover == pytest.approx(80)
    story.players["A"].status = {"time": 9.95}  # it still lived
    assert story.failover == pytest.approx(-20)
