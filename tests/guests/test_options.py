"""Each guest does what the comment at the top of its source says of its options."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support import Console, MemoryDisk, config_for, disk_config, machine_of, net_config, sample

from vlockstep.host.simulated import SimulatedWorld
from vlockstep.machine.config import MIB

GUESTS = Path(__file__).parents[2] / "guests"
NAMES = sorted(path.stem for path in GUESTS.glob("*.c"))


def run(name: str, *arguments: str, capacity: int = 64 * 512, seed: int = 1) -> tuple[int, str]:
    """Status and console text."""
    image, console = sample(name), Console()
    blocks = disk_config(capacity) if image.device("disk") else {}
    nets = net_config("net") if image.device("net") else {}
    config = config_for(image, *arguments, memory=64 * MIB, blocks=blocks, nets=nets)
    with machine_of(image, config) as machine:
        world = SimulatedWorld(seed, console, {1: MemoryDisk(capacity)})
        return machine.run(world).status, console.text


def documented(name: str) -> list[str]:
    head = (GUESTS / f"{name}.c").read_text().split("*/")[0]
    return re.findall(r"^ \*   --(\w+)=", head, re.M)


@pytest.mark.parametrize("name", [n for n in NAMES if documented(n) and n != "hello"])
def test_numbers_that_are_none_and_unknown_options_are_refused_with_status_2(name: str) -> None:
    status, text = run(name, "--nonsense=1")
    assert (status, text) == (2, "unknown option: --nonsense=1\n")
    for option in documented(name):
        if option in ("kind", "ipv4", "requirepass"):
            continue
        for value in ("x", "-1", "1x", "99999999999999999999999"):
            status, text = run(name, f"--{option}={value}")
            assert status == 2 and f"--{option} takes a number up to " in text, text


def test_hello_greets_repeats_its_command_line_and_has_a_status() -> None:
    assert run("hello") == (0, "Hello from vlockstep\n")
    assert run("hello", "a", "--b=c") == (0, "Hello from vlockstep\na --b=c\n")
    assert run("hello", "--status=255")[0] == 255


def test_clock_counts_what_it_is_told_to() -> None:
    status, text = run("clock", "--reads=17", "--walltime=5", "--puts=3")
    assert status == 0
    assert text.count("clock says that it is about now\n") == 3
    assert re.search(r"^clock tsc reads=17 minimum=\d+ maximum=\d+ backwards=0$", text, re.M)
    assert re.search(r"^clock wall reads=5 .* backwards=0$", text, re.M)


class Backwards(SimulatedWorld):
    def cycles(self, at: int) -> int:
        return 1 << 40 if at < 10 else 1000


def test_clock_fails_when_the_tsc_goes_back() -> None:
    image, console = sample("clock"), Console()
    with machine_of(image, config_for(image, "--reads=30", "--walltime=0")) as machine:
        assert machine.run(Backwards(1, console)).status == 1
    assert "the TSC went backwards" in console.text and "backwards=1" in console.text


def test_sort_depends_on_its_options_and_on_nothing_else() -> None:
    first = run("sort", "--n=500", "--rounds=2")
    assert first[0] == 0 and first[1].startswith("sort n=500 rounds=2 hash=")
    assert run("sort", "--n=500", "--rounds=2", seed=9) == first
    others = (("--n=501",), ("--rounds=3",), ("--seed=2",))
    texts = {run("sort", "--n=500", "--rounds=2", *other)[1] for other in others}
    assert run("sort", "--n=0")[0] == run("sort", "--n=1", "--rounds=0")[0] == 0
    assert len(texts | {first[1]}) >= 2


def test_sort_takes_each_option() -> None:
    seen = set()
    for n, rounds, seed in ((500, 2, 1), (501, 2, 1), (500, 3, 1), (500, 2, 2)):
        status, text = run("sort", f"--n={n}", f"--rounds={rounds}", f"--seed={seed}")
        assert status == 0
        seen.add(text.split("hash=")[1])
    assert len(seen) == 4


def test_preempt_switches_and_differs_with_the_schedule() -> None:
    options = ("--work=50000", "--period=10000")
    results = {run("preempt", *options, seed=seed) for seed in (1, 1, 2)}
    assert len(results) == 2 and all(status == 0 for status, _ in results)
    assert run("preempt", *options, "--tsc=1") not in results
    status, text = run("preempt", "--work=1000", "--period=1")
    assert status == 1 and "no timer of 1 ns: result 2" in text


def test_abi_tries_the_timer_only_when_asked() -> None:
    status, text = run("abi", "--timer=1")
    assert status == 0 and "timer on: result 0" in text
    status, text = run("abi")
    assert status == 0 and "timer" not in text


def test_a_disk_too_small_is_named() -> None:
    status, text = run("ledger", "--lines=20", capacity=19 * 512)
    assert status == 2 and "needs a disk of 10240 bytes, this one has 9728" in text
    assert run("abi", capacity=512)[0] == 1


def test_ledger_pauses_between_lines() -> None:
    def last_clock(pause: int) -> int:
        status, text = run("ledger", "--lines=11", "--work=1", f"--pause={pause}")
        assert status == 0
        return int(re.findall(r"tsc=(\d+)", text)[-1])

    assert last_clock(0) < 1_000_000
    assert 70_000_000 < last_clock(7) < 71_000_000
