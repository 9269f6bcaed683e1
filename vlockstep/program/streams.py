"""The standard streams of a program: all three are there, and whatever is printed can be."""

from __future__ import annotations

import codecs
import io
import os
import sys

_ERRORS = "vlockstep.ascii"
_LOOK_ALIKE = {"“": '"', "”": '"', "…": "...", "≤": "<=", "✓": "ok", "✗": "FAILED"}


def prepare() -> None:
    """What a stream's encoding does not have, such as a file name that is no text, is printed as
    something that looks like it, or escaped."""
    _open_missing()
    codecs.register_error(_ERRORS, _stand_in)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ERRORS)


def _open_missing() -> None:
    """Where the shell closed a standard stream, no disk or log may get its number. What is written
    there fails, as it did before."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def _stand_in(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    return "".join(map(_ascii, missing)), error.end


def _ascii(character: str) -> str:
    escaped = character.encode("ascii", "backslashreplace").decode()
    return _LOOK_ALIKE.get(character, escaped)
