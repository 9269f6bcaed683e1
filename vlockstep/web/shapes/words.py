"""Words that shapes have in common."""

from __future__ import annotations

from typing import Literal

Kind = Literal["cluster", "guests", "story"]
Level = Literal["good", "plain", "warn", "bad"]
"""How something stands, for signs and colours."""
Path = list[str]
"""Keys from the view inwards, such as `["guests", "books", "protection"]`."""
