"""Prometheus's text format of metrics. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping

Labels = Mapping[str, str]
MEDIA = "text/plain; version=0.0.4; charset=utf-8"


class Exposition:
    """Metrics in the order in which they were first told, each with all its samples."""

    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = {}

    def gauge(self, name: str, about: str, value: float, **labels: str) -> None:
        self._sample(name, "gauge", about, value, labels)

    def counter(self, name: str, about: str, value: float, **labels: str) -> None:
        """Its name ends with `_total`."""
        assert name.endswith("_total"), name
        self._sample(name, "counter", about, value, labels)

    def states(self, name: str, about: str, state: str, known: list[str], **labels: str) -> None:
        """A series for each state: 1 for the one that it is, 0 for the others."""
        for each in dict.fromkeys([*known, state]):
            self.gauge(name, about, float(each == state), **labels, state=each)

    def histogram(self, name: str, about: str, histogram: Histogram) -> None:
        lines = self._of(name, "histogram", about)
        for bound, count in histogram.cumulative():
            lines.append(_line(f"{name}_bucket", count, {"le": _number(bound)}))
        lines.append(_line(f"{name}_sum", histogram.sum, {}))
        lines.append(_line(f"{name}_count", histogram.count, {}))

    def text(self) -> str:
        return "".join(f"{line}\n" for lines in self._lines.values() for line in lines)

    def _sample(self, name: str, kind: str, about: str, value: float, labels: Labels) -> None:
        self._of(name, kind, about).append(_line(name, value, labels))

    def _of(self, name: str, kind: str, about: str) -> list[str]:
        head = [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]
        return self._lines.setdefault(name, head)


class Histogram:
    """`bounds` rise."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = (*bounds, math.inf)
        self._counts = [0] * len(self._bounds)
        self.sum = 0.0

    @property
    def count(self) -> int:
        return sum(self._counts)

    def observe(self, value: float) -> None:
        self.sum += value
        self._counts[next(n for n, bound in enumerate(self._bounds) if value <= bound)] += 1

    def cumulative(self) -> list[tuple[float, int]]:
        sums = [sum(self._counts[: n + 1]) for n in range(len(self._counts))]
        return list(zip(self._bounds, sums, strict=True))


def _line(name: str, value: float, labels: Labels) -> str:
    told = ",".join(f'{key}="{_escaped(label)}"' for key, label in labels.items())
    return f"{name}{{{told}}} {_number(value)}" if told else f"{name} {_number(value)}"


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1 << 53 else repr(value)


def _escaped(text: str) -> str:
    whole = text.encode(errors="replace").decode()
    return whole.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
