"""Replicas that have disks of their own: whoever joins has the guest's, whatever happens."""

from __future__ import annotations

import pytest

from vlockstep.ft.diskcopies import DiskCopies
from vlockstep.sim.execution import Result, execute
from vlockstep.sim.schedule import Schedule


def results(first: int, count: int, newcomers: int = 2) -> list[Result]:
    schedules = (Schedule.random(first + n, newcomers=newcomers) for n in range(count))
    return [execute(schedule, own_disks=True) for schedule in schedules]


def test_random_faults_while_replicas_join(any_seed: int) -> None:
    assert not [result for result in results(any_seed, 60) if result.violations]


def test_a_disk_is_emptied_before_the_guest_writes_to_it() -> None:
    """Nothing comes for it, since the guest had written nothing yet."""
    schedule = Schedule.parse("ledger/2 seed=1298882319 newcomers=1 join:newcomer@0us")
    assert not execute(schedule, own_disks=True).violations


def test_real_guests() -> None:
    for seed in range(3):
        schedule = Schedule.parse(f"real-ledger/12 seed={seed} newcomers=1").joined()
        assert not execute(schedule, own_disks=True).violations


def test_a_newcomer_without_the_disks_content_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DiskCopies, "_add", lambda self, handle, offset, data: None)
    assert any(result.violations for result in results(1, 30))
