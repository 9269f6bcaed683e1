"""A picture of what happened when: a row for each host, a bar for each replica (SVG)."""

from __future__ import annotations

from html import escape

from vlockstep.cluster.model import Role
from vlockstep.demo.hosts.story import HostsStory, Span

_WIDTH, _LEFT, _TOP = 960, 90, 54
_BAR, _GAP, _PAD = 16, 3, 8
_COLOURS = ("#2b6cb0", "#2f855a", "#b7791f", "#9b2c2c", "#6b46c1", "#2c7a7b", "#b83280", "#4a5568")
_BEFORE = 2.0
"""Seconds shown before the guests ran and clients came."""
_ANSWERS = 26
_LETTER = 7
"""The width of one."""


def draw(story: HostsStory, answers: list[float]) -> str:
    """`answers` are when clients got theirs, in seconds since the epoch."""
    begin, end = story.began - _BEFORE, story.now
    scale = (_WIDTH - _LEFT - 10) / max(end - begin, 0.001)

    def x(time: float) -> float:
        return round(_LEFT + (min(max(time, begin), end) - begin) * scale, 1)

    guests = sorted({span.guest for span in story.spans})
    colours = {guest: _COLOURS[at % len(_COLOURS)] for at, guest in enumerate(guests)}
    parts: list[str] = []
    y = _TOP
    for host in story.plan.hosts:
        spans = [s for s in story.spans if s.host == host and (s.end or end) > begin]
        rows = _rows(spans, end)
        height = max(len(rows), 1) * (_BAR + _GAP) + 2 * _PAD
        parts.append(
            f'<rect x="{_LEFT}" y="{y}" width="{_WIDTH - _LEFT - 10}" height="{height}" '
            f'class="host"/><text x="10" y="{y + height / 2 + 5}" class="name">host {host}</text>'
        )
        for at, row in enumerate(rows):
            for span in row:
                parts.append(_bar(span, x, y + _PAD + at * (_BAR + _GAP), end, colours[span.guest]))
        if host == story.plan.host and story.struck is not None:
            parts.append(
                f'<line x1="{x(story.struck)}" x2="{x(story.struck)}" y1="{y}" '
                f'y2="{y + height}" class="blow"/>'
            )
        y += height + 6
    parts.append(f'<text x="10" y="{y + 17}" class="name">answers</text>')
    for time in _thinned([t for t in answers if begin <= t <= end], 1 / scale):
        parts.append(f'<line x1="{x(time)}" x2="{x(time)}" y1="{y + 4}" y2="{y + 22}" class="a"/>')
    y += _ANSWERS
    for since, master in story.masters:
        if since <= end:
            parts.append(
                f'<text x="{x(since)}" y="{_TOP - 8}" class="note">master {escape(master)}</text>'
            )
    if story.struck is not None:
        text = f"{story.plan.host} is {story.plan.deed}"
        parts.append(f'<text x="{x(story.struck)}" y="{_TOP - 22}" class="bad">{text}</text>')
    parts += _axis(x, begin, end, story.began, y)
    return _page(parts, y + 40)


def _rows(spans: list[Span], end: float) -> list[list[Span]]:
    """Bars of one host beside each other, those of a guest in one row."""
    rows: dict[str, list[Span]] = {}
    for span in sorted(spans, key=lambda s: (s.guest, s.begin)):
        rows.setdefault(span.guest, []).append(span)
    return list(rows.values())


def _bar(span: Span, x: object, y: float, end: float, colour: str) -> str:
    assert callable(x)
    left, right = x(span.begin), x(span.end or end)
    primary = span.role is Role.PRIMARY
    style = f'fill="{colour}"' if primary else f'fill="{colour}33" stroke="{colour}"'
    role = "" if primary else " secondary"
    text = escape(f"{span.guest}{role}")
    label = f"{text}, generation {span.generation}"
    shade = "light" if primary else "dark"
    fits = right - left > _LETTER * len(text)
    text = text if fits else ""
    return (
        f'<g><title>{label}</title><rect x="{left}" y="{y}" width="{max(right - left, 1)}" '
        f'height="{_BAR}" rx="2" {style}/>'
        f'<text x="{left + 4}" y="{y + 12}" class="{shade}">{text}</text></g>'
    )


def _thinned(times: list[float], least: float) -> list[float]:
    """No two closer than can be told apart."""
    kept: list[float] = []
    for time in sorted(times):
        if not kept or time - kept[-1] >= least:
            kept.append(time)
    return kept


def _axis(x: object, begin: float, end: float, zero: float, y: float) -> list[str]:
    assert callable(x)
    step = next(s for s in (1, 2, 5, 10, 30, 60, 600) if (end - begin) / s <= 20 or s == 600)
    first = -int((zero - begin) // step) * step
    ticks = range(first, int(end - zero) + 1, step)
    return [
        f'<text x="{x(zero + tick)}" y="{y + 20}" class="note" text-anchor="middle">{tick} s</text>'
        for tick in ticks
    ]


def _page(parts: list[str], height: float) -> str:
    style = (
        "text{font:12px sans-serif}.name{font-weight:bold}.note{fill:#4a5568;font-size:11px}"
        ".bad{fill:#c53030;font-weight:bold}.host{fill:#f7fafc;stroke:#cbd5e0}"
        ".blow{stroke:#c53030;stroke-width:3}.a{stroke:#2b6cb0;stroke-width:1}"
        ".light{fill:#fff;font-size:11px}.dark{fill:#1a202c;font-size:11px}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height:.0f}" '
        f'viewBox="0 0 {_WIDTH} {height:.0f}"><style>{style}</style>'
        '<rect width="100%" height="100%" fill="#fff"/>' + "\n".join(parts) + "</svg>\n"
    )
