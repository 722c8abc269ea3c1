"""The figures of a data set's report, drawn by matplotlib; the same numbers give the same bytes."""

import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from producer.exports.counts.statistics import OTHERS, SCORE_BINS, Statistics, seconds_edge

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

INK, FAINT, BAR = "#26241f", "#6d685f", "#4c78a8"
THEME = {INK: "ink", FAINT: "faint", BAR: "bar"}  # a page's own names for them, which it darkens and lightens
STYLE: Any = {  # matplotlib types every key
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FAINT,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "text.color": INK,
    "axes.labelcolor": FAINT,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "svg.fonttype": "none",
    "svg.hashsalt": "posemill",  # else ids in the file are drawn by lot
}
MOST_BARS = 12
FEWEST_ROWS = 5  # places for bars, so that a single one is not a wall
LONGEST_LABEL = 42  # characters
FEW_LETTERS = 16

Draw = Callable[["Axes"], None]


def shown(statistics: Statistics, outcomes: Mapping[str, int]) -> dict[str, str | Draw]:
    """By its title each histogram's drawing; its one value in words where there is no more than one."""
    missing = {reason: number for reason, number in outcomes.items() if reason != "done"}
    score_edges = [n / SCORE_BINS for n in range(SCORE_BINS + 1)]
    found: dict[str, str | Draw | None] = {
        "People per image": only(statistics.people) or (lambda axes: _columns(axes, _by_number(statistics.people))),
        "Mean pose score": only_bin(statistics.scores, lambda n: f"{score_edges[n]:.2f}")
        or (lambda axes: _bins(axes, statistics.scores, score_edges)),
        "Prompts": only(statistics.prompts) or (lambda axes: _rows(axes, statistics.prompts)),
        "Items that are not here, by reason": only(missing, with_number=True) or (lambda axes: _rows(axes, missing)),
        "Seconds of device time per image": only_bin(statistics.seconds, lambda n: f"{seconds_edge(n):.2g}")
        or (lambda axes: _seconds(axes, statistics.seconds)),
    }
    if not any(statistics.seconds):  # an export without provenance has no clocks
        del found["Seconds of device time per image"]
    return {title: figure for title, figure in found.items() if figure is not None}


def only(counts: Mapping[str, int], *, with_number: bool = False) -> str | None:
    """The one value that there is, or that there is none; None where there are several."""
    if len(counts) > 1:
        return None
    return next((f"{kind}: {number:,}" if with_number else kind for kind, number in counts.items()), "none")


def only_bin(counts: Sequence[int], edge: Callable[[int], str]) -> str | None:
    """The one bin that holds anything, by its edges; None where several do."""
    used = [number for number, count in enumerate(counts) if count]
    if len(used) > 1:
        return None
    return f"{edge(used[0])} to {edge(used[0] + 1)}" if used else "none"


def histogram(counts: Sequence[int], edges: Sequence[float]) -> Draw:
    """The drawing of counts between edges."""
    return lambda axes: _bins(axes, counts, edges)


def svg(draw: Draw, title: str, size: tuple[float, float] = (4.6, 2.7)) -> str:
    """One plot as an <svg> element; sizes in inches."""
    with _style():
        figure = _figure(size)
        axes = figure.add_subplot()
        axes.set_title(title)
        draw(axes)
        return _as_svg(figure)


def overview_png(statistics: Statistics, outcomes: Mapping[str, int]) -> bytes:
    """All of it in one picture."""
    figures = shown(statistics, outcomes)
    with _style():
        figure = _figure((13.5, 6.4))
        for place, (title, content) in enumerate(figures.items(), start=1):
            axes = figure.add_subplot(2, 3, place)
            axes.set_title(title)
            if isinstance(content, str):
                _value(axes, content)
            else:
                content(axes)
        png = io.BytesIO()
        figure.savefig(png, format="png", dpi=100, metadata={"Software": None})
        return png.getvalue()


@contextmanager
def _style() -> Iterator[None]:
    """Ours, and silence about letters that the font lacks: prompts have every script's."""
    import matplotlib as mpl

    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
        yield


def _figure(size: tuple[float, float]) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout="constrained")


def _as_svg(figure: "Figure") -> str:
    content = io.StringIO()
    figure.savefig(content, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = content.getvalue()
    for colour, name in THEME.items():
        text = text.replace(colour, f"var(--{name})")
    return text[text.index("<svg") :]  # without the head that only a file of its own needs


def _value(axes: "Axes", text: str) -> None:
    """One value, written instead of drawn."""
    short = _short(text)
    size = 26 if len(short) <= FEW_LETTERS else 12
    axes.text(0.5, 0.5, short, ha="center", va="center", fontsize=size, parse_math=False, transform=axes.transAxes)
    axes.set_axis_off()


def _columns(axes: "Axes", counts: Mapping[str, int]) -> None:
    axes.bar(list(counts), list(counts.values()), color=BAR, width=0.6)
    axes.set_ylabel("images")
    _whole_numbers(axes.yaxis)


def _rows(axes: "Axes", counts: Mapping[str, int]) -> None:
    """The most frequent kinds, one bar under the other."""
    most = sorted((kind for kind in counts if kind != OTHERS), key=lambda kind: (-counts[kind], kind))
    rows = {_short(kind): counts[kind] for kind in most[:MOST_BARS]}
    rest = sum(counts.values()) - sum(rows.values())
    if rest > 0:
        rows[f"{len(counts) - min(len(most), MOST_BARS)} or more others"] = rest
    labels = list(rows)[::-1]
    axes.barh(range(len(labels)), [rows[label] for label in labels], height=0.7, color=BAR)
    axes.set_ylim(min(-0.6, len(labels) - FEWEST_ROWS), len(labels) - 0.4)
    axes.set_yticks(range(len(labels)), labels=labels, parse_math=False, fontsize=7)
    axes.set_xlabel("images")
    _whole_numbers(axes.xaxis)


def _bins(axes: "Axes", counts: Sequence[int], edges: Sequence[float]) -> None:
    axes.stairs(list(counts), list(edges), fill=True, color=BAR)
    axes.set_ylabel("images")
    _whole_numbers(axes.yaxis)


def _seconds(axes: "Axes", counts: Sequence[int]) -> None:
    """Bins of equal width though each is longer than the last, with their edges named."""
    used = [number for number, count in enumerate(counts) if count]
    first, last = (used[0], used[-1]) if used else (0, 0)
    edges = range(first, last + 2)
    _bins(axes, counts[first : last + 1], list(edges))
    named = edges[:: -(-len(edges) // 8)]
    axes.set_xticks(named, labels=[f"{seconds_edge(number):.2g}" for number in named])
    axes.set_xlabel("seconds")


def _whole_numbers(axis: "Axis") -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10], integer=True))


def _by_number(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda pair: (not pair[0].isdigit(), pair[0].zfill(9))))


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_LABEL else text[: LONGEST_LABEL - 1] + "…"
