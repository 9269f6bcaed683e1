"""Settings for all tests: how many run at a time; a seed that is another in each run, and
hypothesis runs that are always the same or explore, all of which can be repeated; skips where a
program is missing; and the table of faults."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings

EXPLORING = "exploring"
"""For `--hypothesis-profile`: other examples in each run, by a seed that is shown."""
SEED = "hypothesis_seed"
KVM = "kvm"
_NOT_ON_KVM = Path(__file__).with_name("not_on_kvm.txt")
"""In each line a test, or what the names of several begin with, and behind two spaces why."""
_EXECUTED = ("tests/cli", "tests/demo", "tests/test_packaging", "tests/test_readme")
"""Whose processes all begin as a user's do: these test how the command starts, too."""
settings.register_profile("fixed", deadline=None, derandomize=True, database=None)
settings.register_profile(
    EXPLORING,
    settings.get_profile("fixed"),
    derandomize=False,
    print_blob=True,
    phases=[phase for phase in Phase if phase is not Phase.explain],  # which takes minutes
)
settings.load_profile("fixed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, help="of a run in which tests are to draw as in that one")
    parser.addoption("--pictures", help="the directory for screenshots of the management view")
    parser.addoption(
        "--engine",
        choices=["unicorn", KVM],
        default="unicorn",
        help="what executes the guests of the tests of machine, replay and pair; "
        "kvm leaves out those that not_on_kvm.txt names",
    )
    parser.addoption(
        "--share-of-long",
        type=int,
        default=1,
        metavar="N",
        help="of the long tests only every Nth, another one each time (drawn by --seed)",
    )
    parser.addoption(
        "--exec",
        action="store_true",
        help="begin each process of the command as users do, none as a fork (tests/forking.py)",
    )


@pytest.hookimpl(tryfirst=True)  # before hypothesis looks
def pytest_configure(config: pytest.Config) -> None:
    _heed_interrupts()
    _keep_bytecode(config)
    option = config.option
    if not option.exec:
        import forking

        forks = contextlib.ExitStack()
        forks.enter_context(forking.installed())
        config.add_cleanup(forks.close)
    if option.engine == KVM:
        _use_kvm()
    if option.seed is None:
        given = getattr(config, "workerinput", {}).get("seed")
        option.seed = random.SystemRandom().getrandbits(32) if given is None else given
    if option.hypothesis_profile == EXPLORING and option.hypothesis_seed is None:
        given = getattr(config, "workerinput", {}).get(SEED)
        option.hypothesis_seed = given or str(random.SystemRandom().getrandbits(64))


def _use_kvm() -> None:
    import support

    from vlockstep.machine.kvm import device

    if why_not := device.why_not():
        raise pytest.UsageError(f"no test runs on KVM here: {why_not}")
    support.on_kvm = True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On KVM, only the tests of guests that it can execute; of long ones, a share."""
    option, named = config.option, tuple[str, ...]()
    if option.engine == KVM:
        named = tuple(line.partition("  ")[0] for line in _NOT_ON_KVM.read_text().splitlines())

    def is_left_out(item: pytest.Item) -> bool:
        drawn = (zlib.crc32(item.nodeid.encode()) - option.seed) % option.share_of_long == 0
        return item.nodeid.startswith(named) or bool(item.get_closest_marker("long") and not drawn)

    left_out = [item for item in items if is_left_out(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def _heed_interrupts() -> None:
    """Processes that tests interrupt shall not ignore it, as what a shell has started in the
    background does."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _keep_bytecode(config: pytest.Config) -> None:
    """Hundreds of processes compile our modules once, also where no folder is to get bytecode."""
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
        folder = tempfile.TemporaryDirectory(prefix="vlockstep-bytecode-")
        config.add_cleanup(folder.cleanup)
        os.environ["PYTHONPYCACHEPREFIX"] = folder.name


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Half as many again as CPUs: much of their time tests wait for processes."""
    cpus = os.cpu_count() or 1
    return cpus + cpus // 2


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """The workers of pytest-xdist draw and explore by the same seeds."""
    node.workerinput["seed"] = node.config.option.seed
    node.workerinput[SEED] = node.config.option.hypothesis_seed


def pytest_report_header(config: pytest.Config) -> list[str]:
    return [f"drawing with {_again(config)}"]


def _again(config: pytest.Config) -> str:
    option, again = config.option, f"--seed={config.option.seed}"
    if option.hypothesis_seed:
        again += f" --hypothesis-profile={EXPLORING} --hypothesis-seed={option.hypothesis_seed}"
    return again


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    marked = any(map(item.get_closest_marker, ("executed", "long")))
    if marked or item.nodeid.startswith(_EXECUTED):
        import forking

        with forking.executing():
            return (yield)
    return (yield)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("external"):
        for program in mark.args:
            if shutil.which(program) is None:
                # CI installs what the tests need, and skips none.
                (pytest.fail if "CI" in os.environ else pytest.skip)(f"needs {program}")


@pytest.fixture(autouse=True, scope="session")
def run_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Guests of tests are not among the user's own."""
    with pytest.MonkeyPatch.context() as patch:
        path = tmp_path_factory.mktemp("runtime")
        patch.setenv("XDG_RUNTIME_DIR", str(path))
        yield path / "vlockstep"


@pytest.fixture
def any_seed(request: pytest.FixtureRequest) -> int:
    """Another in each run."""
    return int(request.config.option.seed)


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
    """How to draw the same again; what faults were injected, and what happened."""
    config = terminalreporter.config
    if terminalreporter.stats.get("failed") or terminalreporter.stats.get("error"):
        terminalreporter.section("what was drawn")
        terminalreporter.write_line(f"for the same again: pytest {_again(config)}")
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
