"""The command line of Solo5's own tender, solo5-hvt, in words of ours.

It names a device in the option, `--net:NAME=IFACE`, and has the guest's own command line behind the
image: `[OPTIONS] [--] IMAGE [ARGS]`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from vlockstep.program import say

_OF_A_DEVICE = re.compile(r"--(block|block-sector-size|net|net-mac):([^=]*)=(.*)", re.DOTALL)
_ODD_MEMORY = re.compile(r"--mem=([0-9]{0,8}[13579])")


def translated(word: str) -> list[str]:
    """A word, or both that stand for it here. A network that says no kind is a tap device's."""
    found = _OF_A_DEVICE.fullmatch(word)
    if found is None:
        return [word]
    option, name, value = found.groups()
    if option == "net" and value and ":" not in value:
        value = f"tap:{value}"
    return [f"--{option}", f"{name}={value}"]


def in_whole_pages(word: str) -> str:
    """Memory that is no multiple of 2 MB is adjusted as there, and that is said."""
    found = _ODD_MEMORY.fullmatch(word)
    if found is None:
        return word
    memory = max(2, int(found[1]) - 1)
    say(f"vlockstep: --mem={found[1]} becomes {memory} MB: a guest has whole pages of 2")
    return f"--mem={memory}"


def split(words: Sequence[str], options: Mapping[str, bool]) -> tuple[list[str], list[str]]:
    """The tender's own words, the image among them, and the guest's. `options` tells by their
    names which take a value."""
    at = 0
    while at < len(words) and words[at].startswith("-") and words[at] != "--":
        at += 2 if options.get(words[at]) else 1
    image = at + (words[at : at + 1] == ["--"])
    return [*words[:at], *words[image : image + 1]], [*words[image + 1 :]]
