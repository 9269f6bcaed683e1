"""A guest with a timer whose primary dies again and again, and that others join each time: in the
end it is where a fresh replay of its whole life is."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest
from commands import run_command
from support import sample, some

from vlockstep.arbiter import DirectoryArbiter
from vlockstep.machine.machine import Machine
from vlockstep.machine.position import Position
from vlockstep.machine.registers import Registers
from vlockstep.machine.world import Stop
from vlockstep.replay.logfile import LogReader
from vlockstep.replay.recorder import CHECKPOINT_INTERVAL, MEMORY_INTERVAL
from vlockstep.replay.replayer import Replayer, Sequence
from vlockstep.replay.snapshot import SnapshotReader
from vlockstep.supervise.operator import request_switchover
from vlockstep.testing import Pair, replay
from vlockstep.testing.plugin import MakePair

ENDLESS = "--work=4000000000"
PATIENT = 200
"""Ten seconds without a word, and a replica counts as dead; one that is killed does at once."""
KEEPER = "secondary"
"""Lives to the end, and keeps the log of all of it."""


def knows_all(pair: Pair, name: str, generation: int) -> None:
    """Where the members of that generation are reached."""
    pair.process(name).wait_status(
        lambda status: (status["generation"], status["members"]) == (generation, 3)
    )


def kill(pair: Pair, live: str, heir: str) -> None:
    """The heir is live in the end; if the keeper takes over first, it hands over."""
    keeper, heirs = pair.process(KEEPER), pair.process(heir)
    pair.crash(live)
    two = keeper.wait_status(
        lambda status: status["members"] == 2 and status["state"] in ("protected", "following")
    )
    if two["role"] == "primary":
        follows = ("following", two["generation"])
        heirs.wait_status(lambda status: (status["state"], status["generation"]) == follows)
        request_switchover(pair.endpoint_of(KEEPER), None, 10)
    heirs.wait_event("live")


def taken(pair: Pair, name: str, path: Path) -> int:
    """A snapshot at a secondary: the entry before which its guest was."""
    run = pair.directory / "run"
    done = run_command("snapshot", "take", name, "-o", path, "--json", "--run-dir", run)
    assert done.returncode == 0, done.stderr
    entry: int = json.loads(done.stdout)["entry"]
    return entry


def replay_on(path: Path, log: Path, entry: int) -> tuple[Position, Registers, bytes]:
    """From the snapshot to the end of the log, which tells of registers and RAM; where the guest
    is then, and its registers and the digest of its RAM."""
    with (
        closing(SnapshotReader(path)) as reader,
        closing(LogReader(log)) as logged,
        closing(Machine(sample("preempt"), reader.snapshot.config)) as machine,
    ):
        machine.memory.clear()
        for _, pieces in reader.pieces():
            for address, content in pieces:
                machine.memory.write(address, content)
        machine.load(reader.snapshot.machine)
        later = list(logged.entries())[entry:]
        assert sum(bool(checkpoint) for *_, checkpoint in later) > MEMORY_INTERVAL
        world = Replayer(
            Sequence(iter(later)), machine, sequence=entry, clock=reader.snapshot.clock
        )
        assert isinstance(machine.run(world), Stop)
        assert world.sequence == entry + len(later)
        return machine.position, machine.registers(), machine.memory.digest()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("rounds", some([2], 6))
def test_chain(make_pair: MakePair, tmp_path: Path, rounds: int) -> None:
    pair = make_pair("preempt", [ENDLESS, "--tsc=1"], reachable=True, memory=4, misses=PATIENT)
    live = "primary"
    for number in range(rounds):
        heir = f"heir-{number}"
        pair.join(heir, to=live)
        generation = pair.process(live).wait_event("joined")["generation"]
        for name in (heir, KEEPER):
            knows_all(pair, name, generation)
        kill(pair, live, heir)
        live = heir
    request_switchover(pair.endpoint_of(live), None, 10)
    pair.process(live).wait_event("following")
    entry = taken(pair, live, tmp_path / "end.vsnap")
    enough = entry + (MEMORY_INTERVAL + 2) * CHECKPOINT_INTERVAL
    pair.process(KEEPER).wait_status(lambda status: status["entries"] > enough)
    stopped = run_command("stop", KEEPER, "--run-dir", pair.directory / "run")
    assert stopped.returncode == 0, stopped.stderr
    for name in (live, KEEPER):
        assert pair.process(name).wait_exit() == 0, pair.process(name).report()
    fresh = replay(pair.log(KEEPER))
    assert fresh.status is None, "the log ends before the guest"
    end = replay_on(tmp_path / "end.vsnap", pair.log(KEEPER), entry)
    assert end == (fresh.position, fresh.registers, fresh.memory_digest)
    reigns = DirectoryArbiter(pair.arbiter, "test").reigns()
    assert [len(reign.record.members) for reign in reigns].count(3) >= rounds
