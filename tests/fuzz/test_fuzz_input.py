"""Files and messages from strangers are refused by the error there is for it, or are right."""

from __future__ import annotations

from fuzz import image, log, messages, ports, snapshot
from fuzz.mutations import mutations
from hypothesis import given, settings
from hypothesis import strategies as st


@settings(max_examples=150)
@given(mutations(image.seeds()))
def test_images(data: bytes) -> None:
    image.check(data)


@settings(max_examples=60)
@given(mutations(log.seeds()))
def test_log_files(data: bytes) -> None:
    log.check(data)


@settings(max_examples=60)
@given(mutations(snapshot.seeds()))
def test_snapshots(data: bytes) -> None:
    snapshot.check(data)


@given(mutations(messages.seeds()) | st.binary(max_size=64))
def test_messages(data: bytes) -> None:
    messages.check(data)


@given(mutations(ports.seeds()) | st.binary(max_size=64))
def test_port_messages(data: bytes) -> None:
    ports.check(data)
