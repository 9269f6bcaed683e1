"""`vlockstep keys new`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from commands import run_command

from vlockstep.wire.keys import Party, load


def test_new_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    directory = tmp_path / "keys"
    done = run_command("keys", "new", directory)
    assert done.returncode == 0, done.stderr
    files = {file.name: file for file in directory.iterdir()}
    expected = [f"{p}.{kind}" for p in Party for kind in ("key", "key_secret")]
    assert sorted(files) == sorted(expected)
    assert {file.stat().st_mode & 0o777 for file in files.values()} == {0o600}
    assert directory.stat().st_mode & 0o777 == 0o700
    assert all(name in done.stdout for name in files)
    secrets = [file.read_text() for name, file in files.items() if name.endswith("_secret")]
    assert not any(line in done.stdout for text in secrets for line in text.splitlines() if line)


def test_what_to_copy_is_all_that_a_party_needs(tmp_path: Path) -> None:
    done = run_command("keys", "new", tmp_path / "keys", "--json")
    copies = json.loads(done.stdout)["files"]
    assert sorted(copies) == sorted(Party)
    for party, names in copies.items():
        host = tmp_path / party
        host.mkdir()
        for name in names:
            shutil.copy(tmp_path / "keys" / name, host / name)
        peers = load(host, Party(party)).peers
        assert set(peers) == {Party(name.removesuffix(".key")) for name in names[1:]}
    assert Party.OPERATOR in load(tmp_path / "primary", Party.PRIMARY).peers


def test_a_directory_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run_command("keys", "new", tmp_path)
    assert done.returncode == 2
    assert f"{tmp_path} is not empty" in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("arguments", [("keys", "--help"), ("keys", "new", "--help")])
def test_help_has_an_example(arguments: tuple[str, ...]) -> None:
    done = run_command(*arguments)
    assert done.returncode == 0
    assert "Example: vlockstep keys new" in done.stdout
