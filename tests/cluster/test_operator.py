"""What is asked of a cluster by its store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from vlockstep.cluster.guestfile import GuestFile
from vlockstep.cluster.operator import Operator
from vlockstep.cluster.plain import to_plain
from vlockstep.cluster.records import GUESTS, HOSTS, HostRecord, key
from vlockstep.cluster.store import Content, MemoryStore


def test_a_guest_made_anew_is_not_taken_for_the_one_that_was_deleted(tmp_path: Path) -> None:
    store = MemoryStore(Content(lambda: 0.0))
    operator = Operator(store)
    host = HostRecord("a", "a", "a", "a", 1000, 1024, {"shared": str(tmp_path)})
    store.put(key(HOSTS, "a"), to_plain(host), 0)
    for name in ("books", "other", "books"):
        guest = operator.create_guest(name, "shared", GuestFile("hello"), None, {})
        if name == "books":
            ordered = replace(guest, attempt=guest.attempt + 5)
            store.put(key(GUESTS, name), to_plain(ordered), None)
            operator.unregister(name, delete=True)
    assert ordered.attempt == 10
