"""Keys that cannot be used are refused, by the name of their file."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import pytest
import zmq.auth

from vlockstep.errors import UsageError
from vlockstep.wire.keys import Party, create, load


@pytest.mark.parametrize("name", ["primary.key_secret", "secondary.key", "switch.key"])
@pytest.mark.parametrize(
    "content",
    [
        "",
        "\0\xff",
        "public-key\n",
        'public-key = ""',
        'public-key = "short"',
        f'public-key = "{"a" * 39}"',
        f'public-key = "{"a" * 41}"',
        f'public-key = "{"a" * 45}"',
        f'public-key = "{"~" * 40}"',
        f'public-key = "{"#" * 40}"',
    ],
)
def test_file_without_a_valid_key(tmp_path: Path, name: str, content: str) -> None:
    create(tmp_path / "keys")
    (tmp_path / "keys" / name).write_text(content)
    with pytest.raises(UsageError, match=f"keys/{name} holds no valid key; copy it again"):
        load(tmp_path / "keys", Party.PRIMARY)


def test_secret_that_is_none(tmp_path: Path) -> None:
    files = {file.name: file for file in create(tmp_path / "keys")}
    secret, public = files["primary.key_secret"], files["primary.key"].read_text()
    for key in ("a" * 41, ""):
        secret.write_text(f'{public}\n    secret-key = "{key}"\n')
        with pytest.raises(UsageError, match="key_secret holds no valid key"):
            load(tmp_path / "keys", Party.PRIMARY)
    secret.write_text(public)
    with pytest.raises(UsageError, match="key_secret holds no secret key"):
        load(tmp_path / "keys", Party.PRIMARY)


def test_one_key_for_two(tmp_path: Path) -> None:
    """Nobody could tell a secondary from an operator."""
    create(tmp_path / "keys")
    (tmp_path / "keys/operator.key").write_bytes((tmp_path / "keys/secondary.key").read_bytes())
    with pytest.raises(UsageError, match="the keys of secondary and operator are the same"):
        load(tmp_path / "keys", Party.PRIMARY)


def test_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: Path) -> NoReturn:
        raise PermissionError(13, "Permission denied", str(file))

    create(tmp_path / "keys")
    monkeypatch.setattr(zmq.auth, "load_certificate", refuse)
    with pytest.raises(UsageError) as raised:
        load(tmp_path / "keys", Party.PRIMARY)
    assert str(raised.value) == (
        f"cannot read the key file {tmp_path}/keys/primary.key_secret: Permission denied; "
        "it must be readable for who runs this"
    )


def test_keys_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"lacks primary\.key_secret, .*: make keys"):
        load(tmp_path, Party.PRIMARY)
