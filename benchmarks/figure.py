"""The picture of the README: bars of guest time, and how failovers and the lag are distributed."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import lag, sort
from benchmarks.contest import Report, percentile, ratio

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INSTALL = "pip install -e '.[figure]'"
DRAWN = ("sort", "failover", "lag")
"""The benchmarks that it shows."""
SUFFIXES = (".svg", ".png")
_GROUPS = {
    "Unicorn": (sort.PLAIN, sort.COUNTED),
    "vlockstep": (sort.RUN, sort.RECORD, sort.PROTECTED, sort.REPLAY),
    "QEMU": (sort.QEMU_RUN, sort.QEMU_RECORD, sort.QEMU_REPLAY),
}
_COLOURS = {"Unicorn": "#8da0cb", "vlockstep": "#1b7837", "QEMU": "#fc8d62"}
_GREY = "#555555"
_GAP = 0.6
"""Between groups, in bars."""


def obstacle() -> str:
    """Why nothing can be drawn here; empty if it can."""
    if importlib.util.find_spec("matplotlib") is None:
        return f"--figure needs matplotlib: {INSTALL}"
    return ""


def draw(reports: Mapping[str, Report], path: Path) -> None:
    """Draw what is there of `DRAWN`."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams |= {"svg.hashsalt": "vlockstep", "font.size": 9}
    from matplotlib import pyplot

    panels = {"sort": _guest_time, "failover": _failover, "lag": _lag}
    shown = [name for name in DRAWN if name in reports and reports[name].figures]
    small = [name for name in shown if name != "sort"]
    figure = pyplot.figure(figsize=(9.5, 4.2), layout="constrained", facecolor="white")
    columns = ("sort" in shown) + bool(small)
    grid = figure.add_gridspec(max(1, len(small)), columns, width_ratios=[1.7, 1][:columns])
    for name in shown:
        place = grid[:, 0] if name == "sort" else grid[small.index(name), -1]
        axes = figure.add_subplot(place)
        panels[name](axes, reports[name])
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)


def bars(report: Report) -> list[tuple[str, str, float]]:
    """Group, contestant and guest time relative to `vlockstep run`, from top to bottom."""
    return [
        (group, name, ratio(report.figures, name, sort.RUN))
        for group, names in _GROUPS.items()
        for name in names
        if name in report.figures
    ]


def _guest_time(axes: Axes, report: Report) -> None:
    rows = bars(report)
    groups = list(dict.fromkeys(group for group, _, _ in rows))
    places = [index + _GAP * groups.index(group) for index, (group, _, _) in enumerate(rows)]
    times = [time for _, _, time in rows]
    colours = [_COLOURS[group] for group, _, _ in rows]
    drawn = axes.barh(places, times, color=colours, height=0.8)
    axes.bar_label(drawn, [f"{time:.2f}" for time in times], padding=3)
    axes.axvline(1, color=_GREY, linewidth=0.8, linestyle=":")
    axes.set_yticks(places, [name for _, name, _ in rows])
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.1)
    axes.set_title("time to sort (vlockstep run = 1, less is better)", loc="left", fontsize=9)


def _failover(axes: Axes, report: Report) -> None:
    ((_, gaps),) = report.figures.items()
    axes.hist(gaps, bins=20, color=_COLOURS["vlockstep"])
    axes.set_xlim(left=0)
    axes.set_xlabel("ms")
    axes.set_title(f"from SIGKILL to live, {len(gaps)} failovers", loc="left", fontsize=9)


def _lag(axes: Axes, report: Report) -> None:
    lags = report.figures[lag.PACED]
    percents = range(1, 100)
    axes.plot([percentile(lags, p) for p in percents], percents, color=_COLOURS["vlockstep"])
    axes.axvline(lag.TARGET, color=_GREY, linewidth=0.8, linestyle=":")
    axes.set_xlim(left=0)
    axes.set_ylim(0, 100)
    axes.set_xlabel("ms")
    axes.set_ylabel("% of the time")
    axes.set_title(f"lag below ({lag.PACED})", loc="left", fontsize=9)
