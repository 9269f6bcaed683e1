"""What the demo says."""

from __future__ import annotations

import re


def judged(out: str) -> dict[str, str]:
    """The verdict on each check, in plain output."""
    return dict(reversed(row) for row in re.findall(r"^(ok|FAILED) +(\w+(?: \w+)?)  ", out, re.M))
