"""The name of the thread that executes a guest."""

from __future__ import annotations

GUEST_THREAD = "guest"
"""By which the end of a command knows that a guest is still executing."""
