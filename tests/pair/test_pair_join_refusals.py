"""Who cannot join a guest that runs: it learns why, and the guest goes on untouched."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pair_checks import LONG, LONG_LINES, check_output, said

from vlockstep.machine.bundled import open_bundled
from vlockstep.testing import Pair
from vlockstep.testing.faults.strangers import NEXT_PROTOCOL
from vlockstep.testing.plugin import MakePair
from vlockstep.wire import keys

OTHER_RESULTS = """
import sys
from vlockstep.machine import basis
basis._ORDINARY -= 1
from vlockstep.cli import main
sys.argv[1:] = sys.argv[sys.argv.index("vlockstep") + 1 :]
main()
"""


def held(make_pair: MakePair, **options: object) -> Pair:
    options = {"primary_options": ["--stop-at", "entry:50"], **options}
    pair = make_pair("ledger", LONG, **options)
    pair.wait_reached("primary")
    return pair


def sent_away(pair: Pair, refused: dict[str, tuple[int, str]]) -> None:
    """All of them, with these exit statuses and texts; the pair goes on as it was."""
    for name, (status, why) in refused.items():
        assert pair.process(name).wait_exit() == status, pair.process(name).report()
        assert said(pair, name, why), pair.process(name).report()
        assert not pair.process(name).count("loading")
    pair.go()
    assert pair.wait_finished() == (0, 0)
    check_output(pair, LONG_LINES)
    assert not pair.process("primary").count("unprotected")
    assert not pair.process("primary").count("joined")


def test_other_than_the_guest_has(make_pair: MakePair) -> None:
    pair = held(make_pair)
    names = ("ledger.hvt", "same", "equal", "large", "other.txt")
    files = {name: pair.directory / name for name in names}
    files["ledger.hvt"].write_bytes(open_bundled("ledger").content + b"\0")
    files["same"].write_bytes(bytes(1 << 20))
    files["equal"].write_bytes(bytes(1 << 20))
    files["large"].write_bytes(bytes(2 << 20))
    pair.under["protocol"] = [sys.executable, "-c", NEXT_PROTOCOL]
    pair.join("image", guest=files["ledger.hvt"], wait=False)
    pair.join("protocol", wait=False)
    pair.under["results"] = [sys.executable, "-c", OTHER_RESULTS]
    pair.join("results", wait=False)
    pair.join("disk", "--block", f"disk={files['same']}", wait=False)
    pair.join("size", "--block", f"disk={files['large']}", wait=False)
    pair.join("guest", guest="hello", wait=False)
    pair.join("console", "--console", files["other.txt"], wait=False)
    other = [
        "--arbiter",
        pair.directory / "other",
        "--block",
        f"disk={files['equal']}",
        "--console",
        "-",
    ]
    pair.join("arbiter", *other, wait=False)
    sent_away(
        pair,
        {
            "image": (1, "refuses this replica: .*start both with the same image"),
            "protocol": (1, r"refuses this replica: it speaks protocol \d+, not"),
            "results": (1, "refuses this replica: x87 instructions give other results at the prim"),
            "disk": (2, r"same is not the primary's disk 'disk'; give both the same file"),
            "size": (2, "the disk 'disk' is not the primary's: it has 2097152 bytes here and 104"),
            "guest": (2, "hello.hvt declares no block device 'disk'"),
            "console": (2, "other.txt is not the primary's console file"),
            "arbiter": (1, "its arbiter is not the primary's; give both the same directory"),
        },
    )


def test_key_that_is_not_accepted(make_pair: MakePair) -> None:
    pair = held(make_pair, keys=True)
    rightful = pair.keys
    assert rightful is not None
    pair.keys = pair.directory / "others"
    keys.create(pair.keys)
    pair.join("server", wait=False)
    pair.process("server").wait_exit()
    (pair.keys / "primary.key").write_bytes((rightful / "primary.key").read_bytes())
    pair.join("own", wait=False)
    sent_away(
        pair,
        {
            "server": (1, r"the primary\.key that is here is not its own"),
            "own": (1, r"it does not accept the secondary\.key that is here"),
        },
    )


def test_too_little_memory(make_pair: MakePair) -> None:
    """The guest's RAM does not fit into what the newcomer may have."""
    pair = held(make_pair, memory=2048)
    pair.under["small"] = ["prlimit", f"--as={3 << 29}"]
    pair.join("small", wait=False)
    sent_away(pair, {"small": (1, "memory")})


def test_a_log_that_would_lack_the_beginning(make_pair: MakePair, tmp_path: Path) -> None:
    """It joins, and tells that it keeps none."""
    pair = held(make_pair)
    pair.join("third", "--log", tmp_path / "third.vlog", wait=False).wait_event("loading")
    pair.go()
    assert pair.process("third").wait_exit() == 0
    notice = "no log is kept by a replica that has joined a guest in the midst of its execution"
    assert pair.process("third").count("notice", text=notice) == 1


def test_one_that_comes_by_way_of_a_secondary(make_pair: MakePair) -> None:
    """It is sent on to the primary."""
    pair = held(make_pair, reachable=True)
    pair.join("third", to="secondary", wait=False).wait_event("loading")
    pair.go()
    assert pair.wait_finished() == (0, 0)
    assert pair.process("third").wait_exit() == 0
    assert pair.process("primary").wait_event("joined")["members"] == 3
    check_output(pair, LONG_LINES)


@pytest.mark.external("prlimit")
def test_where_the_guest_finds_no_room(make_pair: MakePair) -> None:
    pair = held(make_pair, primary_options=["--mem", "600", "--stop-at", "entry:50"])
    pair.under["small"] = ["prlimit", f"--as={700 << 20}"]
    pair.join("small", wait=False)
    sent_away(pair, {"small": (1, "cannot reserve 600 MiB of guest memory")})
