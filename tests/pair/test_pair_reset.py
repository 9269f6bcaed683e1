"""`vlockstep arbiter`: who has ruled, and how to begin anew after both replicas have died."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from commands import run_command
from pair_checks import SHORT, check_output, said

from vlockstep.arbiter import DirectoryArbiter
from vlockstep.errors import HostError, UsageError
from vlockstep.files.processes import identity, runs
from vlockstep.testing import Pair, PairError
from vlockstep.testing.plugin import MakePair

STOPPED = "exits:50"


def call(*arguments: object) -> subprocess.CompletedProcess[str]:
    return run_command("arbiter", *arguments)


def generations(directory: Path) -> list[dict[str, Any]]:
    shown = call("show", directory, "--json")
    assert shown.returncode == 0, shown.stderr
    found: list[dict[str, Any]] = json.loads(shown.stdout)["generations"]
    return found


def rewrite(arbiter: Path, **fields: object) -> None:
    """Let the newest record say something else."""
    newest = max(file for file in arbiter.glob("generation-*") if not file.suffix)
    newest.write_text(json.dumps(json.loads(newest.read_text()) | fields))


def dead_process() -> dict[str, object]:
    """What a record says of an owner that has died on this host."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        return {"pid": process.pid, "process": identity(process.pid)}


def claim(arbiter: DirectoryArbiter, expected: int) -> None:
    """By a replica without others."""
    assert arbiter.claim("a", expected, frozenset(), {}).owner == "a"


def test_show_a_pair_through_its_life(make_pair: MakePair) -> None:
    pair = make_pair("ledger", SHORT, stop_at=[STOPPED, "exits:60"])
    pair.wait_reached("secondary")
    [first] = generations(pair.arbiter)
    assert first["pid"] == pair.process("primary").pid
    assert (first["runs"], first["alone"], first["ended"]) == (True, False, False)
    pair.crash()
    pair.go("secondary")
    pair.wait_reached("secondary")
    first, second = generations(pair.arbiter)
    assert (first["runs"], first["ended"]) == (False, False)
    assert second["pid"] == pair.process("secondary").pid
    assert (second["runs"], second["alone"], second["ended"]) == (True, True, False)
    text = call("show", pair.arbiter).stdout
    assert f"guest       {(pair.arbiter / 'guest').read_text()}" in text
    words = [line.split() for line in text.splitlines()]
    assert words[1] == ["generation", "owner", "host", "process", "now", "protection", "guest"]
    assert words[2][3:] == [str(first["pid"]), "dead", "protected", "not", "ended"]
    assert words[3][3:] == [str(second["pid"]), "runs", "alone", "not", "ended"]
    pair.go("secondary")
    assert pair.process("secondary").wait_exit() == 0
    assert generations(pair.arbiter)[-1]["ended"] is True


def kill_both(pair: Pair) -> None:
    pair.pause("secondary")
    pair.crash("primary")
    pair.crash("secondary")


def test_a_fresh_start_after_both_have_died(make_pair: MakePair) -> None:
    pair = make_pair("ledger", SHORT, stop_at=[STOPPED])
    guest = (pair.arbiter / "guest").read_text()
    refused = call("reset", pair.arbiter)
    assert refused.returncode == 1
    assert f"process {pair.process('primary').pid} on this host): stop it first" in refused.stderr
    assert call("reset", pair.arbiter, "--force").returncode == 1
    kill_both(pair)
    with pytest.raises(PairError):
        pair.start_primary()
    assert said(
        pair,
        "primary",
        "process is dead: if no secondary of it runs anywhere, vlockstep arbiter reset "
        f"{pair.arbiter}$",
    )
    done = call("reset", pair.arbiter)
    assert (done.returncode, done.stdout) == (
        0, f"{pair.arbiter} is ready for a fresh start, as generation 3\n"
    )  # fmt: skip
    assert (pair.arbiter / "guest").read_text() != guest
    pair.start()
    pair.go()
    assert pair.wait_finished() == (0, 0)
    check_output(pair)
    assert generations(pair.arbiter)[-1]["generation"] == 3


def test_the_secondary_of_before_never_goes_live(make_pair: MakePair) -> None:
    """Whoever reset the directory was wrong: the secondary was stopped, not dead."""
    pair = make_pair("ledger", SHORT, stop_at=[STOPPED])
    pair.wait_reached("secondary")
    pair.pause("secondary")
    pair.crash("primary")
    assert call("reset", pair.arbiter).returncode == 0
    survivor = pair.process("secondary")
    with pytest.raises(PairError):
        pair.start_primary()
    assert said(pair, "primary", f"disk.img is in use by process {survivor.pid} ")
    pair.resume("secondary")
    assert survivor.wait_exit() == 1
    assert list(survivor.generations()) == []


def test_an_owner_on_another_host(make_pair: MakePair) -> None:
    pair = make_pair("ledger", SHORT, stop_at=[STOPPED])
    kill_both(pair)
    rewrite(pair.arbiter, host="elsewhere", process="of another boot")
    assert generations(pair.arbiter)[0]["runs"] is None
    with pytest.raises(PairError):
        pair.start_primary()
    assert said(pair, "primary", r"on elsewhere\); if neither that process .*, by force$")
    refused = call("reset", pair.arbiter)
    assert refused.returncode == 1
    assert "on elsewhere" in refused.stderr and "two live primaries" in refused.stderr
    assert "(--force)" in refused.stderr
    assert call("reset", pair.arbiter, "--force", "--json").stdout == '{"generation": 2}\n'
    pair.start()
    pair.go()
    assert pair.wait_finished() == (0, 0)


def test_an_owner_that_was_alone(tmp_path: Path) -> None:
    arbiter = DirectoryArbiter(tmp_path, "a")
    claim(arbiter, 0)
    claim(arbiter, 1)
    rewrite(tmp_path, **dead_process())
    with pytest.raises(UsageError, match="is dead, and nobody followed it: vlockstep arbiter"):
        DirectoryArbiter(tmp_path, "b").start()
    assert DirectoryArbiter(tmp_path, "reset").reset() == 3
    assert DirectoryArbiter(tmp_path, "b").start() == 3


def test_a_number_that_was_used_again(tmp_path: Path) -> None:
    """This process has the number, but was not started then."""
    claim(DirectoryArbiter(tmp_path, "a"), 0)
    [reign] = DirectoryArbiter(tmp_path, "b").reigns()
    assert reign.runs is True
    rewrite(tmp_path, process=reign.record.process + "0")
    [reign] = DirectoryArbiter(tmp_path, "b").reigns()
    assert reign.runs is False


def test_whether_a_process_runs() -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        then = identity(process.pid)
        assert runs(process.pid, then) is True
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # a zombie is left
        assert runs(process.pid, then) is False
    assert runs(process.pid, then) is False
    assert runs(1 << 70, then) is False
    assert runs(process.pid, "") is None
    assert runs(process.pid, "of another boot") is None


@pytest.mark.parametrize("names", [["notes.txt"], ["generation-1"], ["a", "b", "c", "d"]])
def test_a_directory_with_other_files(make_pair: MakePair, names: list[str]) -> None:
    pair = make_pair("hello", start=False)
    pair.arbiter.mkdir()
    for name in names:
        (pair.arbiter / name).write_text("precious")
    listed = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    message = rf"holds other files than an arbiter's \({listed}\): give one of its own"
    with pytest.raises(PairError):
        pair.start_primary()
    pair.start_secondary()
    for which in ("primary", "secondary"):
        assert pair.process(which).wait_exit() == 2
        assert said(pair, which, message)
    claim(DirectoryArbiter(pair.arbiter, "x"), 0)
    refused = call("reset", pair.arbiter)
    assert refused.returncode == 2 and "holds other files than an arbiter's" in refused.stderr
    assert all((pair.arbiter / name).read_text() == "precious" for name in names)


def test_what_is_no_arbiter(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "none", tmp_path / "file", tmp_path / "empty", tmp_path):
        for action in ("show", "reset"):
            refused = call(action, path)
            assert refused.returncode == 2
            assert f"{path} is no arbiter: no replica has been started with it" in refused.stderr


def test_who_has_asked_for_its_guest_keeps_that_name(tmp_path: Path) -> None:
    early = DirectoryArbiter(tmp_path, "a")
    name = early.guest()
    assert DirectoryArbiter(tmp_path, "b").guest() == name
    DirectoryArbiter(tmp_path, "reset").reset()
    assert early.guest() == name != DirectoryArbiter(tmp_path, "b").guest()


@pytest.mark.parametrize("content", [b"", b"\xff", b"a guest's"])
def test_a_name_of_a_guest_that_is_none(tmp_path: Path, content: bytes) -> None:
    """Such as after a power failure: who took it for one would share its files with nobody."""
    (tmp_path / "guest").write_bytes(content)
    message = f"guest holds no name of a guest: vlockstep arbiter reset {tmp_path}$"
    with pytest.raises(HostError, match=message):
        DirectoryArbiter(tmp_path, "a").guest()
    DirectoryArbiter(tmp_path, "reset").reset()
    assert DirectoryArbiter(tmp_path, "a").guest()


def test_two_that_reset_at_once(tmp_path: Path) -> None:
    """The claim decides, as between replicas."""
    claim(DirectoryArbiter(tmp_path, "a"), 0)
    rewrite(tmp_path, **dead_process())
    late = DirectoryArbiter(tmp_path, "reset")
    late._scan = lambda: (1, False)  # type: ignore[method-assign]
    assert DirectoryArbiter(tmp_path, "reset").reset() == 2
    with pytest.raises(HostError, match="another replica has just gone live"):
        late.reset()
