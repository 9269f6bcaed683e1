"""A hostile guest ends itself and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from fuzz import calls, code
from fuzz.mutations import mutations
from fuzz.worker import Worker
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support import DATA

POLL = 2


@pytest.fixture(scope="module")
def code_worker() -> Iterator[Worker]:
    with closing(Worker("code")) as worker:
        yield worker


@pytest.fixture(scope="module")
def calls_worker() -> Iterator[Worker]:
    with closing(Worker("calls")) as worker:
        yield worker


@settings(max_examples=60)
@given(mutations(code.seeds()))
@example(bytes.fromhex("010107 0f22e0"))  # no PAE: even the handler's code is not mapped then
def test_machine_code(code_worker: Worker, data: bytes) -> None:
    code_worker.check(data)


@settings(max_examples=40)
@given(st.integers(0, 7), st.binary(max_size=64))
def test_noise_as_machine_code(code_worker: Worker, flags: int, data: bytes) -> None:
    code_worker.check(bytes((flags, 0, 0)) + data)


@settings(max_examples=60)
@given(mutations(calls.seeds()))
@example(b"\0" + 2 * calls.CALL.pack(POLL, 0, DATA, 0, 0, b"\xff" * 40))  # sleeps for ever, twice
def test_hypercalls(calls_worker: Worker, data: bytes) -> None:
    calls_worker.check(data)


@pytest.mark.parametrize(
    "data", ["050704 070f0b04070f0b", "07ffff ff0503079effffffff010107ba01050000b8000020000535"]
)
def test_rip_within_an_exit(code_worker: Worker, data: str) -> None:
    """Behind exceptions in a guest with a timer."""
    code_worker.check(bytes.fromhex(data))
