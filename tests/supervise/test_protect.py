"""A guest that `vlockstep run` runs gets replicas, without a break."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import takewhile
from pathlib import Path

import pytest
from commands import run_command, wait_until
from household import PATIENT, House
from support import FAILING_SECTOR, failing_image, halt, make_image

from vlockstep.debug.timeline import open_recording
from vlockstep.supervise.client import GuestClient
from vlockstep.testing.process import TIMEOUT


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with closing(House(tmp_path)) as made:
        yield made


def test_a_guest_that_gets_a_secondary_survives_its_host(house: House) -> None:
    guest = house.run_ledger()
    done = house.protect()
    assert (done.returncode, done.stderr) == (0, "")
    told, started_by = done.stdout.splitlines()
    assert f"replicas can join books at {house.endpoint}" in told
    assert started_by.startswith(f"vlockstep secondary ledger --join {house.endpoint} --arbiter ")
    secondary = house.join("heir")
    joined = house.wait_event("books", "joined")
    assert (joined["members"], joined["generation"]) == (2, 2)
    guest.send_signal(signal.SIGKILL)
    house.wait_event("heir", "live")
    house.check_that_it_goes_on("heir")
    assert secondary.wait(timeout=TIMEOUT) == 0


def test_a_guest_that_never_was_protected_is_not_told_to_be_so_no_longer(house: House) -> None:
    house.run_ledger()
    assert house.protect().returncode == 0
    house.join("heir")
    with closing(GuestClient(house.run_directory, "books")) as client:
        kinds = (event["event"] for event in client.events(0))
        told = [*takewhile(lambda kind: kind != "protected", kinds)]
    assert told.count("joined") == 1 and "unprotected" not in told, told


def test_who_stops_the_guest_stops_all_its_replicas(house: House) -> None:
    guest = house.run_ledger()
    house.protect()
    secondary = house.join("heir")
    house.wait_event("books", "joined")
    assert house.call("stop", "books").returncode == 0
    assert (guest.wait(timeout=TIMEOUT), secondary.wait(timeout=TIMEOUT)) == (0, 0)
    assert house.call("ps").stdout.splitlines()[1:] == []


def test_a_guest_that_only_ran_moves_to_another_host(house: House) -> None:
    guest = house.run_ledger()
    house.protect()
    there = f"ipc://{house.directory}/there"
    destination = house.receive("moved", there)
    done = house.call("migrate", "books", there, "--json")
    assert done.returncode == 0, done.stderr
    *_, report = map(json.loads, done.stdout.splitlines())
    assert report["event"] == "migrated" and report["gap_ms"] > 0 and report["bytes"] > 0
    assert guest.wait(timeout=TIMEOUT) == 0
    assert "the guest has moved to" in guest.communicate()[1]
    house.check_that_it_goes_on("moved")
    assert destination.wait(timeout=TIMEOUT) == 0


def test_a_secondary_moves_while_the_guest_stays_protected(house: House) -> None:
    guest = house.run_ledger()
    house.protect()
    secondary = house.join("heir")
    house.wait_event("books", "joined")
    there = f"ipc://{house.directory}/there"
    moved = house.receive("moved", there)
    done = house.call("migrate", "heir", there)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert done.stdout.splitlines()[0].split() == ["moved", "to", there]
    assert secondary.wait(timeout=TIMEOUT) == 0
    guest.kill()
    house.wait_event("moved", "live")
    house.check_that_it_goes_on("moved")
    assert moved.wait(timeout=TIMEOUT) == 0


def test_over_a_network_it_needs_keys_and_says_what_befalls_it(house: House) -> None:
    guest = house.run_ledger()
    keys = house.directory / "keys"
    assert run_command("keys", "new", keys).returncode == 0
    done = house.call(
        "protect", "books", "--arbiter", house.directory / "arbiter", "--keys", keys,
        "--listen", "tcp://0.0.0.0:0", *PATIENT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    endpoint = f"ipc://{house.directory}/moved"
    destination = house.receive("moved", endpoint, "--keys", keys)
    done = house.call("migrate", "books", endpoint)
    assert done.returncode == 0, done.stderr
    assert guest.wait(timeout=TIMEOUT) == 0
    assert "another replica has joined: 2 have the guest" in guest.communicate()[1]
    house.check_that_it_goes_on("moved")
    assert destination.wait(timeout=TIMEOUT) == 0


def test_a_guest_with_a_timer_ends_as_it_would_have(house: House) -> None:
    """Its state at the end depends on where each interrupt came: the replicas' are equal."""
    guest = house.start("books", "run", "preempt", "--json", "--", "--work=4000000")
    house.protect_at_once(heartbeat=500)
    guest.send_signal(signal.SIGSTOP)  # so that it has not ended before the other one is there
    secondary = house.start(
        "heir", "secondary", "preempt", "--join", house.endpoint,
        "--arbiter", house.directory / "arbiter", "--json", "--heartbeat", 500, *PATIENT,
    )  # fmt: skip
    guest.send_signal(signal.SIGCONT)
    ends = [process.communicate(timeout=TIMEOUT) for process in (guest, secondary)]
    (ended,) = (json.loads(line) for line in ends[0][1].splitlines()[-1:])
    told = [json.loads(line) for line in ends[1][1].splitlines()]
    finished = next(event for event in told if event["event"] == "finished")
    assert ended["registers"] == finished["registers"]
    assert ended["memory_digest"] == finished["memory_digest"]
    assert any(event["event"] == "loading" for event in told)


def test_the_guest_of_a_process_that_is_asked_to_end_goes_on(house: House) -> None:
    guest = house.run_ledger()
    house.protect()
    secondary = house.join("heir")
    house.wait_event("books", "joined")
    guest.terminate()
    guest.wait(timeout=TIMEOUT)
    house.wait_event("heir", "live")
    house.check_that_it_goes_on("heir")
    assert secondary.wait(timeout=TIMEOUT) == 0


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda house: (house.directory / "arbiter").write_text(""), "arbiter"),
        (lambda house: house.protect(), "replicas can join it already, at ipc://"),
    ],
)
def test_refusals(house: House, spoil: Callable[[House], object], problem: str) -> None:
    """They do not harm the guest."""
    guest = house.run_ledger()
    spoil(house)
    refused = house.protect()
    assert (refused.returncode, refused.stdout) == (1, "")
    assert problem in refused.stderr and "Traceback" not in refused.stderr
    house.check_that_it_goes_on("books")
    assert guest.wait(timeout=TIMEOUT) == 0


def test_a_request_that_fails_leaves_no_arbiter_behind(house: House) -> None:
    """Somebody listens there already. What was there before stays, and the next request does it."""
    house.run_ledger()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        arbiter = house.directory / "arbiter"
        words = ("protect", "books", "--listen", endpoint, "--arbiter")
        refused = house.call(*words, arbiter)
        assert refused.returncode == 1 and endpoint in refused.stderr, refused.stderr
        assert not arbiter.exists()
        arbiter.mkdir()
        assert house.call(*words, arbiter).returncode == 1
        assert [*arbiter.iterdir()] == []
    assert house.protect().returncode == 0
    house.check_that_it_goes_on("books")


def test_a_guest_that_ends_before_it_asks_for_anything(house: House) -> None:
    """It never comes to where it could be made a primary's."""
    spin = b"\x48\xb9" + (1 << 28).to_bytes(8, "little") + b"\x48\xff\xc9\x75\xfb"
    image = house.directory / "spin.hvt"
    image.write_bytes(make_image(spin + halt()).content)
    guest = house.start("books", "run", image)
    house.protect_at_once()
    assert guest.wait(timeout=TIMEOUT) == 0


def test_who_receives_does_so_where_no_file_says_otherwise(house: House) -> None:
    """And a secondary never does."""
    file = house.directory / "guest.toml"
    file.write_text('image = "hello"\nawaits_at = "ipc://nowhere"\narbiter = "a"\n')
    waiting = house.start("there", "receive", "hello", "--arbiter", house.directory / "a")
    assert house.wait_event("there", "waiting")["endpoint"] == "tcp://127.0.0.1:7720"
    waiting.kill()
    house.start("here", "secondary", file, "--connect", f"ipc://{house.directory}/primary")
    assert house.wait_event("here", "joining")["endpoint"].endswith("/primary")


def test_it_has_no_replicas_before(house: House) -> None:
    house.run_ledger()
    for asked in (("switchover", "books"), ("migrate", "books", "tcp://127.0.0.1:1")):
        refused = house.call(*asked)
        assert refused.returncode == 1
        assert "protect it" in refused.stderr


def test_the_last_minutes_of_a_guest_that_was_protected_go_on(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it did before is there, too, as long as its primary's log does not go back far."""
    monkeypatch.chdir(house.directory)
    image = house.directory / "fails.hvt"
    image.write_bytes(failing_image().content)
    guest = house.start(
        "books", "run", image, "--block", f"disk={house.disk}", "--on-error", "record"
    )
    assert house.protect().returncode == 0
    kept = lambda: [*house.directory.glob("books-protected-*.vlog")]  # noqa: E731
    wait_until(lambda: bool(kept()) and kept()[0].stat().st_size > 4096)
    with house.disk.open("r+b") as disk:
        disk.write(b"\1")
    assert guest.wait(timeout=TIMEOUT) == 1
    said = guest.communicate()[1]
    (after,), (before,) = kept(), house.directory.glob("books-2*.vlog")
    assert f"what led to this was recorded: vlockstep debug {after.name}" in said
    assert (
        f"what it did before it was protected was recorded: vlockstep debug {before.name}" in said
    )
    with open_recording(after) as timeline:
        assert timeline.recording.failed and timeline.recording.first > 0
        timeline.to_end()
        assert timeline.read(FAILING_SECTOR, 1) == b"\1"
    with open_recording(before) as timeline:
        timeline.to_end()
        assert timeline.ending == "the log ends here; the guest had not ended"
        assert timeline.recording.first == 0 and timeline.read(FAILING_SECTOR, 1) == b"\0"
