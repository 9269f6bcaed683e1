"""Who may take part: CURVE keys, and addresses that need them."""

from __future__ import annotations

from pathlib import Path

import pytest
from pair_checks import KILLED, SHORT, check_equal, check_output, said

from vlockstep.errors import HostError
from vlockstep.testing import Pair, PairError
from vlockstep.testing.plugin import MakePair
from vlockstep.wire import keys


def starts_with_the_right_key(pair: Pair) -> None:
    """Nothing has changed for a secondary that may follow."""
    assert pair.transcript == b""
    assert all(event["event"] != "started" for event in pair.events("primary"))
    pair.start_secondary()
    assert pair.wait_finished() == (0, 0)
    check_output(pair)
    check_equal(pair)


def rejections(pair: Pair) -> list[str]:
    """What the primary says of who was rejected: each cause once."""
    pair.process("primary").wait_event("rejected")
    return [e["reason"] for e in pair.events("primary") if e["event"] == "rejected"]


def test_right_keys(make_pair: MakePair) -> None:
    pair = make_pair("ledger", SHORT, keys=True, crash_at="entry:50")
    assert pair.wait_live() == 2
    assert pair.wait_finished() == (KILLED, 0)
    check_output(pair)


def test_each_party_needs_only_its_own_secret(make_pair: MakePair) -> None:
    pair = make_pair("ledger", SHORT, keys=True, start=False)
    assert pair.keys is not None
    pair.start_primary()
    (pair.keys / "primary.key_secret").unlink()
    pair.start_secondary()
    assert pair.wait_finished() == (0, 0)


def test_keys_of_another_pair(make_pair: MakePair, tmp_path: Path) -> None:
    pair = make_pair("ledger", SHORT, keys=True, start=False)
    pair.start_primary()
    keys.create(tmp_path / "others")
    pair.start_secondary("--keys", tmp_path / "others")
    assert pair.process("secondary").wait_exit() == 1
    assert said(pair, "secondary", r"the primary\.key that is here is not its own")
    assert rejections(pair) == [
        "somebody connects with another primary.key than this one's; "
        "copy the keys of one pair to both sides"
    ]
    starts_with_the_right_key(pair)


def test_a_key_that_the_primary_does_not_know(make_pair: MakePair, tmp_path: Path) -> None:
    pair = make_pair("ledger", SHORT, keys=True, start=False)
    assert pair.keys is not None
    pair.start_primary()
    keys.create(tmp_path / "others")
    (tmp_path / "others/primary.key").write_bytes((pair.keys / "primary.key").read_bytes())
    pair.start_secondary("--keys", tmp_path / "others")
    assert pair.process("secondary").wait_exit() == 1
    assert said(pair, "secondary", r"it does not accept the secondary\.key that is here")
    assert rejections(pair) == [
        "somebody connects with a key that is not accepted here; "
        "copy the keys of one pair to both sides"
    ]
    starts_with_the_right_key(pair)


def test_no_key(make_pair: MakePair) -> None:
    pair = make_pair("ledger", SHORT, keys=True, start=False)
    pair.start_primary()
    rightful, pair.keys = pair.keys, None
    pair.start_secondary()
    assert pair.process("secondary").wait_exit() == 1
    told = "there are keys there and none here; give keys to both sides, or to neither"
    assert said(pair, "secondary", told)
    assert rejections(pair) == [
        "somebody connects without keys; give keys to both sides, or to neither"
    ]
    pair.keys = rightful
    starts_with_the_right_key(pair)


def test_key_where_the_primary_has_none(make_pair: MakePair, tmp_path: Path) -> None:
    pair = make_pair("ledger", SHORT, start=False)
    pair.start_primary()
    keys.create(tmp_path / "keys")
    pair.start_secondary("--keys", tmp_path / "keys")
    assert pair.process("secondary").wait_exit() == 1
    assert said(pair, "secondary", "there are keys here and none there; give keys to both sides")
    assert rejections(pair) == [
        "somebody connects with keys; give keys to both sides, or to neither"
    ]
    starts_with_the_right_key(pair)


def test_operator_without_a_key(make_pair: MakePair) -> None:
    pair = make_pair("ledger", SHORT, keys=True, stop_at=["exits:50"])
    rightful, pair.keys = pair.keys, None
    with pytest.raises(HostError, match="there are keys there and none here"):
        pair.switchover()
    pair.keys = rightful
    pair.go()
    assert pair.wait_finished() == (0, 0)
    check_output(pair)
    check_equal(pair)


@pytest.mark.parametrize("endpoint", ["tcp://0.0.0.0:0", "tcp://192.0.2.1:7700"])
def test_address_of_others_needs_keys(make_pair: MakePair, endpoint: str) -> None:
    pair = make_pair("hello", start=False)
    with pytest.raises(PairError):
        pair.start_primary("--listen", endpoint)
    assert pair.process("primary").exit_status == 2
    assert said(pair, "primary", "not an address of this machine alone|no address")
    assert not pair.arbiter.exists()
    pair.start_secondary("--connect", endpoint)
    assert pair.process("secondary").wait_exit() == 2
    assert not pair.arbiter.exists()


def test_any_address_with_keys(make_pair: MakePair) -> None:
    pair = make_pair("hello", keys=True, start=False)
    pair.start_primary("--listen", "tcp://0.0.0.0:0")
    pair.start_secondary()
    assert pair.wait_finished() == (0, 0)


def test_secret_key_that_others_can_read(make_pair: MakePair) -> None:
    pair = make_pair("hello", keys=True, start=False)
    assert pair.keys is not None
    (pair.keys / "primary.key_secret").chmod(0o644)
    with pytest.raises(PairError, match="can be read by others"):
        pair.start_primary()
