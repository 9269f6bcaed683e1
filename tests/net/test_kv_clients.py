"""What kv lets one client do to others, and what it asks of them first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
import redis
from net.clients import ARGUMENTS, GUEST, Unprotected, alone, client, lan, until_running
from net.resp import Connection

WRONG = b"WRONGPASS invalid username-password pair or user is disabled."
pytestmark = pytest.mark.external("ip")


@pytest.fixture(autouse=True)
def network() -> Iterator[None]:
    with lan():
        yield


def test_clients_that_are_killed() -> None:
    with alone("kv"), client() as killer:
        victims = [client() for _ in range(4)]
        for number, victim in enumerate(victims):
            assert victim.client_setname(f"victim{number}")
        listed = {entry["name"]: entry for entry in killer.client_list()}
        assert {entry["laddr"] for entry in listed.values()} == {f"{GUEST}:6379"}
        assert killer.client_kill(listed["victim0"]["addr"])
        assert killer.client_kill_filter(_id=listed["victim1"]["id"]) == 1
        assert killer.client_kill_filter(_id=listed["victim1"]["id"]) == 0
        assert killer.client_kill_filter(laddr="10.0.0.9:6379") == 0
        assert victims[2].ping() and victims[3].ping()
        assert len(killer.client_list()) == 3
        assert killer.client_kill_filter(laddr=f"{GUEST}:6379", skipme=True) == 2
        for victim in victims:
            with pytest.raises(redis.ConnectionError):
                victim.ping()
            victim.close()
        assert [entry["id"] for entry in killer.client_list()] == [str(killer.client_id())]
        assert killer.info()["connected_clients"] == 1


def test_a_client_that_is_killed_within_a_transaction_leaves_nothing() -> None:
    with alone("kv"), client() as killer, client() as victim:
        victim.execute_command("WATCH", "a")
        victim.execute_command("MULTI")
        victim.execute_command("SET", "a", "x" * 100_000)
        before = killer.info()["used_memory"]
        killer.execute_command("MULTI")
        killer.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        killer.execute_command("SET", "a", 1)
        assert killer.execute_command("EXEC") == [1, b"OK"]
        assert killer.info()["used_memory"] < before and killer.get("a") == b"1"


def test_a_password() -> None:
    arguments = [*ARGUMENTS, "--requirepass=s3cret"]
    with until_running("tapa"):
        guest = Unprotected("kv", arguments=arguments)
    try:
        with closing(Connection((GUEST, 6379))) as stranger:

            def says(*words: bytes) -> object:
                stranger.send([words])
                return stranger.read().value

            for command in (b"GET a", b"CONFIG GET requirepass", b"MULTI", b"CLIENT LIST"):
                assert says(*command.split()) == b"NOAUTH Authentication required."
            for wrong in (b"", b"s3cre", b"s3crets", b"S3cret", b"s3crets3cret"):
                assert says(b"AUTH", wrong) == WRONG
                assert says(b"HELLO", b"3", b"AUTH", b"default", wrong) == WRONG
            assert says(b"AUTH", b"default", b"s3cret") == b"OK"
            assert says(b"SET", b"a", b"1") == b"OK"
        with redis.Redis(GUEST, password="s3cret") as caller:
            assert caller.get("a") == b"1"
            assert caller.config_get("requirepass") == {"requirepass": "s3cret"}
            assert caller.config_set("requirepass", "")
        with client() as anyone:
            assert anyone.get("a") == b"1"
    finally:
        guest.close()


def test_settings() -> None:
    with alone("kv"), client() as caller:
        shown = caller.config_get()
        assert shown["maxmemory"] == "0" and shown["save"] == "" and shown["appendonly"] == "no"
        for name, value in shown.items():
            assert caller.config_set(name, value)
        assert caller.config_get() == shown
        with pytest.raises(redis.ResponseError, match=r"'databases'\) - can't set immutable"):
            caller.execute_command("CONFIG", "SET", "maxmemory", "1mb", "databases", 2)
        with pytest.raises(redis.ResponseError, match="argument must be a memory value"):
            caller.config_set("maxmemory", "1 mb")
        assert caller.config_get("maxmemory") == {"maxmemory": "0"}
        assert caller.config_set("maxmemory", "1kB")
        assert caller.config_get("MAX*ORY") == {"maxmemory": "1024"}
        with pytest.raises(redis.ResponseError, match="used memory is at its limit"):
            caller.set("large", bytes(2000))
        assert caller.config_set("maxmemory", 0) and caller.set("large", bytes(2000))


def test_a_transaction_that_replies_more_than_memory_holds() -> None:
    """Says so for each command that does, and has an effect all the same."""
    with alone("kv"), closing(Connection((GUEST, 6379))) as caller:
        value = b"x" * (1 << 20)
        asked = [[b"SET", b"a", value], [b"MULTI"]]
        asked += [command for _ in range(60) for command in ([b"GET", b"a"], [b"INCR", b"n"])]
        caller.send([*asked, [b"EXEC"], [b"GET", b"n"]])
        assert {caller.read().value for _ in asked} == {b"OK", b"QUEUED"}
        replies = caller.read().value
        assert isinstance(replies, tuple) and len(replies) == 120
        values = {reply.value for reply in replies[::2] if reply.kind == "$"}
        errors = [str(reply.value) for reply in replies[::2] if reply.kind == "-"]
        assert values == {value} and all(" reply of 10486" in error for error in errors)
        assert 10 <= len(errors) < 60
        assert [reply.value for reply in replies[1::2]] == [b"%d" % n for n in range(1, 61)]
        assert caller.read().value == b"60"
