"""Cost against what varies, as SVG that is the same for the same figures and reads well on light and on dark."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from .sweeps import PAIR, Point, Sweep, text

INK = "#767676"
"""A grey with 4.5 : 1 to white and 4.1 : 1 to what dark pages have."""
COLOURS = dict(zip(PAIR, ("#3b82f6", "#d97706"), strict=True))
STYLE = {
    "svg.fonttype": "none", "svg.hashsalt": "dimsetls", "font.family": "sans-serif", "font.size": 9.0,
    "text.color": INK, "axes.edgecolor": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 9.5, "axes.titlelocation": "left",
    "xtick.labelsize": 8.0, "grid.color": INK, "grid.alpha": 0.25, "grid.linewidth": 0.6,
}


def draw(sweep: Sweep, figures: Sequence[Point], file: Path) -> None:
    """Two plots side by side: the server's processor time for one object, and the time on the clock."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.4, 2.9), layout="constrained")
        left, right = figure.subplots(1, 2)
        _plot(left, sweep, [(each.peer, each.at, each.cpu) for each in figures], "server CPU")
        _plot(right, sweep, [(each.peer, each.at, each.time) for each in figures], "time")
        figure.savefig(file, transparent=True, metadata={"Date": None, "Creator": None})


def _plot(axes: Axes, sweep: Sweep, values: Sequence[tuple[str, int, tuple[float, ...]]], what: str) -> None:
    ends = []
    for peer in PAIR:
        mine = sorted((at, each) for name, at, each in values if name == peer)
        if not mine:
            continue
        at, medians = [at for at, _ in mine], [statistics.median(each) for _, each in mine]
        axes.fill_between(at, [min(each) for _, each in mine], [max(each) for _, each in mine],
                          color=COLOURS[peer], alpha=0.18, linewidth=0)
        axes.plot(at, medians, color=COLOURS[peer], linewidth=1.8, marker="o", markersize=3.5)
        ends.append((medians[-1], peer))
    axes.set_xscale("log")
    if sweep.name == "size":
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(0, 1.15 * max(max(each) for *_, each in values))
    axes.xaxis.set_major_locator(FixedLocator(sorted({at for _, at, _ in values})))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: text(sweep, round(at))))
    axes.set_xlabel(sweep.axis)
    axes.set_title(f"{what} for one {sweep.object}, ms")
    axes.grid(axis="y")
    ends.sort()
    heights = [axes.transLimits.transform(axes.transScale.transform((1.0, end)))[1] for end, _ in ends]
    apart = heights[-1] - heights[0] > 0.08 or len(ends) == 1
    for place, (end, peer) in enumerate(ends):  # where the lines end close by, one name above and one below
        axes.annotate(peer, (1.0, end), xycoords=("axes fraction", "data"), xytext=(2, 0 if apart else 10 * place - 5),
                      textcoords="offset points", color=COLOURS[peer], va="center", annotation_clip=False,
                      weight="bold")  # fmt: skip
