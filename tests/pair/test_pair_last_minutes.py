"""What replicas leave of a guest that fails: its last minutes."""

from __future__ import annotations

from contextlib import closing, nullcontext
from pathlib import Path

import pytest
from support import FAILING_SECTOR, failing_image

from vlockstep.debug.timeline import open_recording
from vlockstep.errors import VlockstepWarning
from vlockstep.replay.logfile import LogReader
from vlockstep.testing import Pair
from vlockstep.testing.plugin import MakePair

KEPT = ["--on-error", "record"]


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
    pair.crash("primary")
    pair.wait_live()
    third = pair.join("third", *KEPT, to="secondary")
    third.wait_status(lambda _: "third" in recordings(pair))
    let_fail(pair)
    assert third.wait_exit() == pair.process("secondary").wait_exit() == 1
    found = recordings(pair)
    assert check(found["secondary"]) == 0 < check(found["third"])
    with pytest.warns(VlockstepWarning) if _cut(found["primary"]) else nullcontext():
        open_recording(found["primary"]).close()


def _cut(path: Path) -> bool:
    with closing(LogReader(path)) as log:
        for _ in log.entries():
            pass
        return log.truncated is not None
