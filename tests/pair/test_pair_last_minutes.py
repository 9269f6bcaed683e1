"""What replicas leave of a guest that fails: its last minutes."""

from __future__ import annotations

import re
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from commands import run_command
from support import COUNTED_SECTOR, FAILING_SECTOR, failing_image

from vlockstep.debug.timeline import open_recording
from vlockstep.errors import VlockstepWarning
from vlockstep.host.attach import DiskSpec
from vlockstep.replay.logfile import LogReader
from vlockstep.testing import Pair
from vlockstep.testing.plugin import MakePair

KEPT = ["--on-error", "record"]
LEDGER = ["--lines=2000", "--pause=10"]
"""Until it is stopped."""


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "fails.hvt"
    path.write_bytes(failing_image().content)
    return path


def started(
    make_pair: MakePair, guest: Path, monkeypatch: pytest.MonkeyPatch, **more: object
) -> Pair:
    options = {"primary_options": KEPT, "secondary_options": KEPT, "reachable": True}
    pair = make_pair(str(guest), **options, **more, start=False)
    monkeypatch.chdir(pair.directory)
    pair.start()
    return pair


def let_fail(pair: Pair) -> None:
    with pair.disk_file().open("r+b") as disk:
        disk.write(b"\1")


def recordings(pair: Pair) -> dict[str, Path]:
    """By the name of the process."""
    return {path.name.partition("-")[0]: path for path in pair.directory.glob("*-*.vlog*")}


def size(pair: Pair, name: str) -> int:
    path = recordings(pair).get(name)
    return 0 if path is None else path.stat().st_size


def check(path: Path) -> int:
    """It opens where the guest failed; the number of its first entry."""
    with open_recording(path) as timeline:
        assert timeline.recording.failed
        timeline.to_end()
        assert timeline.read(timeline.registers().rip, 2) == b"\x0f\x0b"
        assert timeline.read(FAILING_SECTOR, 1) == b"\1"
        timeline.step_back()
        timeline.step_back()
        assert timeline.registers().rip < timeline.image.entry + 0x80
        return timeline.recording.first


def test_both_leave_one(make_pair: MakePair, guest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = started(make_pair, guest, monkeypatch)
    let_fail(pair)
    assert set(pair.wait_finished()) == {1}
    found = recordings(pair)
    assert sorted(found) == ["primary", "secondary"]
    for side, path in found.items():
        assert f"vlockstep debug {path.name}" in pair.process(side).wait_notice("was recorded")
        assert check(path) == 0


def test_who_survives_and_who_has_joined_leave_one(
    make_pair: MakePair, guest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of the newcomer begins where it joined; that of who was killed stays what it was."""
    pair = started(make_pair, guest, monkeypatch)
    pair.process("primary").wait_status(lambda _: size(pair, "primary") > 4096)
    pair.crash("primary")
    pair.wait_live()
    third = pair.join("third", *KEPT, to="secondary")
    third.wait_status(lambda _: size(pair, "third") > 4096)
    let_fail(pair)
    assert third.wait_exit() == pair.process("secondary").wait_exit() == 1
    found = recordings(pair)
    assert check(found["secondary"]) == 0 < check(found["third"])
    with pytest.warns(VlockstepWarning) if _cut(found["primary"]) else nullcontext():
        open_recording(found["primary"]).close()


def test_what_was_read_from_disks_of_their_own_is_there(
    make_pair: MakePair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their entries do not have it. Who survives has read some as a secondary's, some since."""
    image = tmp_path / "counts.hvt"
    image.write_bytes(failing_image(counts=True).content)
    files = {name: tmp_path / f"{name}.img" for name in ("primary", "secondary", "third")}
    for path in files.values():
        path.write_bytes(b"\x07".ljust(1024, b"x"))
    options = {"primary_options": KEPT, "secondary_options": KEPT, "reachable": True}
    pair = make_pair(str(image), **options, start=False)
    for side in ("primary", "secondary"):
        disks = (pair.specs[side].disks[0], DiskSpec("own", files[side], local=True))
        pair.specs[side] = replace(pair.specs[side], disks=disks)
    monkeypatch.chdir(pair.directory)
    pair.start()
    pair.process("secondary").wait_status(lambda status: status["entries"] > 100)
    pair.crash("primary")
    pair.wait_live()
    third = pair.join("third", "--block", f"own={files['third']},local", *KEPT, to="secondary")
    third.wait_status(lambda _: size(pair, "third") > 4096)
    let_fail(pair)
    assert third.wait_exit() == pair.process("secondary").wait_exit() == 1
    found = recordings(pair)
    assert check(found["secondary"]) == 0 < check(found["third"])
    for path in (found["secondary"], found["third"]):
        with open_recording(path) as timeline:
            assert not timeline.recording.config.blocks["own"].local
            timeline.to_end()
            assert timeline.read(COUNTED_SECTOR, 512) == files["secondary"].read_bytes()[:512]
            rounds = timeline.mark.boundary.exits // 4
            assert timeline.read(COUNTED_SECTOR, 1)[0] == (7 + rounds) % 256


def test_who_resumes_a_guest_leaves_one(
    make_pair: MakePair, guest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It begins with a state that its own host has seen."""
    pair = make_pair(str(guest), start=False)
    monkeypatch.chdir(pair.directory)
    spec = replace(pair.specs["primary"], lease=1000, secondaries=0, on_error="record")
    pair.specs["primary"] = replace(spec, resume=pair.directory / "resume", resumes=True)
    pair.start_primary()
    pair.process("primary").wait_status(lambda _: size(pair, "primary") > 4096)
    pair.crash("primary")
    outsider = pair.restart("outsider")
    outsider.wait_status(lambda _: size(pair, "outsider") > 4096)
    assert outsider.count("resuming") and not outsider.count("not-resumed")
    let_fail(pair)
    assert outsider.wait_exit() == 1
    assert check(recordings(pair)["outsider"]) > 0


@pytest.mark.external("gdb")
@pytest.mark.parametrize("options", [KEPT, []])
def test_a_secondary_is_looked_at_while_all_go_on(
    options: list[str], make_pair: MakePair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its last minutes if it keeps them, and as it is now if not."""
    pair = make_pair("ledger", LEDGER, secondary_options=options, start=False)
    monkeypatch.chdir(pair.directory)
    pair.start()
    secondary = pair.process("secondary")
    secondary.wait_status(lambda status: status["exits"] > 100)
    batch = pair.directory / "batch"
    batch.write_text("when\nreverse-stepi\nstepi\nreverse-continue\nwhen\nconsole\nseek end\n")
    words = ["debug", "--run-dir", pair.directory / "run", "--batch", batch, "--live"]
    for _ in range(2):
        done = run_command(*words, "secondary")
        assert done.returncode == 0 and "the guest had not ended" in done.stderr, done
        end, begin, again = re.findall("^exits:([0-9]+)", done.stdout, re.M)
        assert 100 <= int(end) == int(again) and (int(begin) == 0) == bool(options), done
    refused = run_command(*words, "primary")
    assert refused.returncode == 1 and "start it with --on-error record" in refused.stderr
    exits = secondary.status["exits"]
    secondary.wait_status(lambda status: status["exits"] > exits)
    assert run_command("stop", "primary", "--run-dir", pair.directory / "run").returncode == 0
    pair.wait_finished()
    assert not pair.process("primary").count("alone") and not secondary.count("diverged")
    numbers = [int(line.split()[1]) for line in pair.transcript.splitlines()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert not recordings(pair), "it has not failed"
    assert run_command("debug", pair.log("primary"), "--live", "secondary").returncode == 2


def _cut(path: Path) -> bool:
    with closing(LogReader(path)) as log:
        for _ in log.entries():
            pass
        return log.truncated is not None
