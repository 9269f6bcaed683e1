"""Compare-and-sets by many at once, each of which adds a name to a list: who was told that it was
done is there once, who was told that it was not is not there.

As a program it does so in a process of its own, which can be killed, and prints what it was told.
"""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Iterator
from typing import NamedTuple

from vlockstep.cluster.store import Conflict, Store, StoreError, open_store

KEY = "storm/names"


class Told(NamedTuple):
    """`done` is None if there was no answer; `version` what it was if it was done."""

    name: str
    done: bool | None
    version: int = 0


def add(store: Store, count: int) -> Iterator[Told]:
    for _ in range(count):
        try:
            entry = store.get(KEY)
        except StoreError:
            continue
        name = uuid.uuid4().hex[:12]
        names = [*entry.value["names"], name] if entry else [name]
        try:
            version = store.put(KEY, {"names": names}, entry.version if entry else 0)
        except Conflict:
            yield Told(name, False)
        except StoreError:
            yield Told(name, None)
        else:
            yield Told(name, True, version)


def check(store: Store, told: list[Told], silent: int = 0) -> None:
    """`silent` is how many may have done something and were killed before they could say so."""
    entry = store.get(KEY)
    assert entry is not None
    names = entry.value["names"]
    assert len(set(names)) == len(names), "something was done twice"
    done = [(name, version) for name, is_done, version in told if is_done]
    assert done, "nothing was done"
    versions = dict(done)
    assert {name for name, _ in done} <= set(names), "what was done is lost"
    assert not {name for name, is_done, _ in told if is_done is False} & set(names)
    assert len(set(names) - {name for name, _, _ in told}) <= silent
    in_order = [versions[name] for name in names if name in versions]
    assert in_order == sorted(set(in_order)) and in_order[-1] <= entry.version


def main(address: str, count: str) -> None:
    for told in add(open_store(address), int(count)):
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
