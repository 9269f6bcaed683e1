"""Settings for all tests: repeatable hypothesis runs, skips where a program is missing, and the
table of faults."""

from __future__ import annotations

import os
import shutil
import socket

import pytest
from hypothesis import settings

settings.register_profile("vlockstep", deadline=None, derandomize=True, database=None)
settings.load_profile("vlockstep")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("external"):
        for program in mark.args:
            if shutil.which(program) is None:
                # CI installs what the tests need, and skips none.
                (pytest.fail if "CI" in os.environ else pytest.skip)(f"needs {program}")


@pytest.fixture
def ipv6() -> str:
    """An endpoint of this machine at which to listen, with a port that the system chooses."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError as error:
        pytest.skip(f"::1 cannot be bound here: {error}")
    return "tcp://[::1]:0"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What faults were injected, and what happened."""
    rows = [
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "call"
        for name, value in report.user_properties
        if name == "fault"
    ]
    if rows:
        from vlockstep.testing.faults import FAULTS
        from vlockstep.testing.faults.table import render

        order = [fault.name for fault in FAULTS]
        terminalreporter.section("faults")
        terminalreporter.write(render(sorted(rows, key=lambda row: order.index(row["fault"]))))
