"""What a person reads who watches a pair: each line with its time."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pair.watched import Watched

FOREVER = ["--walltime=1000000000", "--reads=1"]


@contextmanager
def pair(directory: Path, *arguments: str) -> Iterator[tuple[Watched, Watched]]:
    endpoint = f"ipc://{directory}/channel"
    shared = ["clock", "--arbiter", directory / "arbiter", "--misses", 40]
    primary = Watched("primary", *shared, "--listen", endpoint, "--", *arguments)
    secondary = Watched("secondary", *shared, "--connect", endpoint)
    both = (primary, secondary)
    try:
        assert primary.read() == f"waiting for a secondary at {endpoint}"
        assert secondary.read() == f"joining the primary at {endpoint}"
        assert secondary.read() == "following the primary"
        assert primary.read() == "the guest runs, protected"
        yield both
    finally:
        for replica in both:
            replica.close()


def test_to_the_end(tmp_path: Path) -> None:
    with pair(tmp_path) as (primary, secondary):
        assert primary.rest() == secondary.rest() == ["the guest has ended with status 0"]


def test_the_secondary_goes_live(tmp_path: Path) -> None:
    with pair(tmp_path, *FOREVER) as (primary, secondary):
        primary.process.kill()
        assert secondary.read() == "the connection to the primary was lost"
        lost = "the connection to the primary was lost"
        assert secondary.read() == f"live as generation 2: {lost}"
        assert secondary.read() == "the guest is no longer protected"
        secondary.process.send_signal(signal.SIGTERM)
        ended = "stopped by SIGTERM; the guest ends here, no other replica has it"
        assert secondary.rest()[-1] == ended


def test_the_primary_goes_on_alone(tmp_path: Path) -> None:
    with pair(tmp_path, *FOREVER) as (primary, secondary):
        secondary.process.kill()
        primary.wait("going on alone as generation 2")
        assert primary.read() == "the guest is no longer protected"


def test_what_fails_is_told_with_the_time(tmp_path: Path) -> None:
    nobody, arbiter = f"ipc://{tmp_path}/nobody", tmp_path / "arbiter"
    replica = Watched("secondary", "clock", "--wait", 0, "--connect", nobody, "--arbiter", arbiter)
    assert replica.rest()[-1].startswith("this replica stopped: no primary answered")
