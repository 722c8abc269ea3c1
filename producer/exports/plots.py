"""The figures of a data set's report, drawn by matplotlib; the same numbers give the same bytes."""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from producer.exports.pose_map import Cluster, PoseMap
from producer.exports.statistics import OTHERS, SCORE_BINS, Statistics, seconds_edge

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

INK, FAINT, BAR = "#26241f", "#77726a", "#4c78a8"
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
LIMBS = ((1, 2), (2, 3), (3, 4), (1, 5), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13),
         (1, 0), (0, 14), (14, 16), (0, 15), (15, 17))  # fmt: skip  # between OpenPose's keypoints


def histograms(statistics: Statistics, outcomes: Mapping[str, int]) -> dict[str, Callable[["Axes"], None]]:
    """What draws each histogram, by its title."""
    rejected = {reason: number for reason, number in outcomes.items() if reason != "done"}
    return {
        "People per image": lambda axes: _columns(axes, _by_number(statistics.people)),
        "Mean pose score": lambda axes: _bins(axes, statistics.scores, [n / SCORE_BINS for n in range(SCORE_BINS + 1)]),
        "Prompts": lambda axes: _rows(axes, statistics.prompts),
        "Seconds of device time per image": lambda axes: _seconds(axes, statistics.seconds),
        "Items that are not here, by reason": lambda axes: _rows(axes, rejected, nothing="none"),
    }


def svg(draw: Callable[["Axes"], None], title: str, size: tuple[float, float] = (4.6, 2.7)) -> str:
    """One plot as an <svg> element; sizes in inches."""
    with _style():
        figure = _figure(size)
        axes = figure.add_subplot()
        axes.set_title(title)
        draw(axes)
        return _as_svg(figure)


def overview_png(statistics: Statistics, outcomes: Mapping[str, int]) -> bytes:
    """All histograms in one picture."""
    with _style():
        figure = _figure((13.5, 6.4))
        for place, (title, draw) in enumerate(histograms(statistics, outcomes).items(), start=1):
            axes = figure.add_subplot(2, 3, place)
            axes.set_title(title)
            draw(axes)
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=100, metadata={"Software": None})
        return content.getvalue()


def pose_map_svg(found: PoseMap) -> str:
    """The plane of poses, and the middle of each cluster as a stick figure."""
    with _style():
        figure = _figure((9.6, 4.4))
        whole = figure.add_gridspec(1, 2, width_ratios=(1, 1.35))
        _scatter(figure.add_subplot(whole[0]), found)
        grid = whole[1].subgridspec(3, 4)
        for number, cluster in enumerate(found.clusters[:12]):
            _stick_figure(figure.add_subplot(grid[number // 4, number % 4]), cluster, f"C{number % 10}")
        return _as_svg(figure)


def _style() -> Any:
    import matplotlib as mpl

    return mpl.rc_context(STYLE)


def _figure(size: tuple[float, float]) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout="constrained")


def _as_svg(figure: "Figure") -> str:
    content = io.StringIO()
    figure.savefig(content, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = content.getvalue()
    return text[text.index("<svg") :]  # without the head that only a file of its own needs


def _columns(axes: "Axes", counts: Mapping[str, int]) -> None:
    axes.bar(list(counts), list(counts.values()), color=BAR, width=0.6)
    axes.set_ylabel("images")
    _whole_numbers(axes.yaxis)


def _rows(axes: "Axes", counts: Mapping[str, int], nothing: str = "") -> None:
    """The most frequent kinds, one bar under the other."""
    most = sorted((kind for kind in counts if kind != OTHERS), key=lambda kind: (-counts[kind], kind))
    shown = {_short(kind): counts[kind] for kind in most[:MOST_BARS]}
    rest = sum(counts.values()) - sum(shown.values())
    if rest > 0:
        shown[f"{len(counts) - min(len(most), MOST_BARS)} or more others"] = rest
    if not shown:
        axes.text(0.5, 0.5, nothing, ha="center", va="center", transform=axes.transAxes)
        axes.set_axis_off()
        return
    labels = list(shown)[::-1]
    axes.barh(range(len(labels)), [shown[label] for label in labels], height=0.7, color=BAR)
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


def _scatter(axes: "Axes", found: PoseMap) -> None:
    axes.set_title("Poses; like ones lie near each other")
    xs, ys = [place[0] for place in found.places], [place[1] for place in found.places]
    axes.scatter(
        xs, ys, c=[f"C{member % 10}" for member in found.members], s=[8 + 4 * n**0.5 for n in found.images], alpha=0.7
    )
    axes.set_xticks([])
    axes.set_yticks([])


def _stick_figure(axes: "Axes", cluster: Cluster, colour: str) -> None:
    points = list(zip(cluster.pose.points[::2], cluster.pose.points[1::2], strict=True))
    for start, end in LIMBS:
        (x0, y0), (x1, y1) = points[start], points[end]
        if x0 is not None and y0 is not None and x1 is not None and y1 is not None:
            axes.plot((x0, x1), (y0, y1), color=colour, linewidth=2, solid_capstyle="round")
    axes.set_xlim(-0.6, 0.6)
    axes.set_ylim(0.6, -0.6)
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set_title(f"{cluster.images:,} images, {cluster.poses:,} poses", fontsize=7, fontweight="normal")


def _by_number(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda pair: (not pair[0].isdigit(), pair[0].zfill(9))))


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_LABEL else text[: LONGEST_LABEL - 1] + "…"
