"""A guest that failed, or hangs, is reset where it is, but not for ever."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlockstep.cluster.ha.monitoring import (
    DAY,
    HIGH,
    HOUR,
    LOW,
    MEDIUM,
    Action,
    GuestMonitor,
    LeftAlone,
    Monitoring,
    Reset,
    Sample,
)
from vlockstep.errors import UsageError
from vlockstep.protocol.actions import NEVER
from vlockstep.protocol.timing import SECOND


class Watched:
    """A guest in virtual time, sampled every 5 s. It is up again at once after a reset."""

    def __init__(self, settings: Monitoring = HIGH) -> None:
        self.now = 0
        self.exits = self.io = 0
        self.waiting = False
        self.monitor = GuestMonitor(settings, "db", 0)
        self.resets: list[int] = []
        """In which second each was."""
        self.left: list[LeftAlone] = []

    def go(self, seconds: int, exits: int = 0, io: int = 0) -> Watched:
        """With so many exits and blocks in every sample."""
        for _ in range(seconds // 5):
            self.now += 5
            self.exits += exits
            self.io += io
            sample = Sample(self.exits, self.waiting, self.io)
            self.did(self.monitor.sampled(self.now * SECOND, sample))
        return self

    def did(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Reset):
                self.resets.append(self.now)
                self.monitor.started(self.now * SECOND)
            else:
                self.left.append(action)

    def fail(self) -> None:
        self.did(self.monitor.failed(self.now * SECOND, "page fault at 0x10"))


def test_a_guest_without_heartbeat_and_io_is_reset_in_place() -> None:
    """Scenario 27: 120 s after the last block, though the heartbeat has been missing for 30."""
    guest = Watched().go(600, exits=1, io=1).go(115)
    assert guest.resets == []
    assert guest.go(5).resets == [720]


def test_the_heartbeat_alone_decides_if_io_is_not_looked_at() -> None:
    guest = Watched(Monitoring(io_interval=0)).go(600, exits=1, io=1).go(25)
    assert guest.resets == []
    assert guest.go(5).resets == [630]


def test_a_guest_whose_disk_works_is_not_reset() -> None:
    """Scenario 28: until that, too, has been still for long enough."""
    guest = Watched().go(600, exits=1).go(1000, io=1)
    assert guest.resets == []
    assert guest.go(120).resets == [1720]


def test_a_guest_that_waits_is_no_guest_that_hangs() -> None:
    guest = Watched().go(600, exits=1)
    guest.waiting = True
    assert guest.go(10_000).resets == []
    guest.waiting = False
    assert guest.go(30).resets == [10_630]


def test_a_guest_is_not_judged_in_its_first_two_minutes() -> None:
    """Scenario 29: nor after a reset."""
    guest = Watched(Monitoring(io_interval=0)).go(145)
    assert guest.resets == []
    assert guest.go(5).resets == [150]
    assert guest.go(145).resets == [150]
    assert guest.go(5).resets == [150, 300]


def test_three_resets_in_the_window_and_the_next_when_the_first_has_left_it() -> None:
    """Scenario 27, on."""
    guest = Watched(HIGH).go(3800)
    first = guest.resets[0]
    assert guest.resets == [first, first + 150, first + 300, first + 3600]
    assert [str(left) for left in guest.left] == [
        "db gives no sign of life, and is not reset: that was done 3 times; mend it, and start it"
    ]


def test_without_a_window_three_resets_are_all() -> None:
    guest = Watched(Monitoring()).go(DAY // SECOND)
    assert len(guest.resets) == 3
    assert len(guest.left) == 1


def test_who_was_left_alone_and_lives_again_is_told_of_anew() -> None:
    guest = Watched(Monitoring()).go(1000).go(50, exits=1).go(1000)
    assert len(guest.resets) == 3
    assert len(guest.left) == 2


def test_a_guest_that_failed_is_started_anew_at_once() -> None:
    """Its uptime is of no matter."""
    guest = Watched()
    guest.fail()
    assert guest.resets == [0]


def test_failures_and_hangs_count_together() -> None:
    guest = Watched().go(200)
    guest.fail()
    guest.fail()
    assert guest.resets == [150, 200, 200]
    guest.fail()
    assert str(guest.left[0]) == (
        "db failed (page fault at 0x10), and is not reset: that was done 3 times; mend it, and "
        "start it"
    )


def test_a_guest_that_failed_too_often_is_started_when_the_window_has_passed() -> None:
    guest = Watched()
    for second in (0, 10, 20, 30):
        guest.now = second
        guest.fail()
    assert guest.resets == [0, 10, 20]
    assert guest.monitor.deadline() == HOUR
    guest.did(guest.monitor.tick(HOUR - 1))
    assert len(guest.resets) == 3
    guest.did(guest.monitor.tick(HOUR))
    assert len(guest.resets) == 4
    assert len(guest.left) == 1
    assert guest.monitor.deadline() == NEVER


def test_a_failed_guest_without_a_window_waits_for_its_user() -> None:
    guest = Watched(Monitoring())
    for _ in range(4):
        guest.fail()
    assert guest.monitor.deadline() == NEVER
    assert guest.monitor.tick(NEVER - 1) == []


def test_no_reset_while_one_is_under_way() -> None:
    monitor = GuestMonitor(HIGH, "db", 0)
    assert monitor.failed(1, "abort") == [Reset("db", 1, "failed (abort)")]
    for second in range(1, 1000):
        assert monitor.sampled(second * SECOND, Sample(0, False, 0)) == []
    assert monitor.tick(1000 * SECOND) == []


def test_time_in_which_nobody_looked_is_no_silence() -> None:
    """The host slept, or its agent was started anew."""
    guest = Watched(Monitoring(io_interval=0)).go(600, exits=1)
    guest.now += 10_000
    assert guest.go(30).resets == []
    assert guest.go(5).resets == [10_635]


@pytest.mark.parametrize(
    ("preset", "interval", "window"), [(HIGH, 30, HOUR), (MEDIUM, 60, DAY), (LOW, 120, 7 * DAY)]
)
def test_the_presets(preset: Monitoring, interval: int, window: int) -> None:
    assert (preset.failure_interval, preset.window) == (interval * SECOND, window)
    assert (preset.max_failures, preset.min_uptime) == (3, 120 * SECOND)


def test_a_faster_profile_has_all_times_divided() -> None:
    assert HIGH.faster(20) == Monitoring(
        3 * SECOND // 2, 6 * SECOND, 6 * SECOND, 3, window=180 * SECOND
    )
    assert Monitoring().faster(20).window is None


@pytest.mark.parametrize(
    "settings",
    [
        {"failure_interval": 0},
        {"io_interval": -1},
        {"min_uptime": -1},
        {"max_failures": 0},
        {"window": 0},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        Monitoring(**settings)


@given(st.lists(st.tuples(st.integers(1, 40), st.sampled_from(["hang", "run", "fail"]))))
def test_whatever_happens_no_window_has_more_resets_than_it_may(
    happens: list[tuple[int, str]],
) -> None:
    guest = Watched(Monitoring(window=1000 * SECOND))
    for samples, what in happens:
        guest.go(5 * samples, exits=int(what == "run"))
        if what == "fail":
            guest.fail()
    for reset in guest.resets:
        assert sum(reset <= other < reset + 1000 for other in guest.resets) <= 3
