"""report.html: everything about a data set on one page that opens without a network."""

from collections.abc import Mapping

from markupsafe import Markup

from posemill.contract.records import Run
from producer.exports.counts.statistics import Statistics
from producer.exports.report.card import model_licence, models
from producer.exports.report.judged import cluster_shares
from producer.exports.report.judgements import Acceptance
from producer.exports.report.plots import shown, svg
from producer.exports.report.pose_figures import cluster_svg, pose_map_svg
from producer.exports.report.pose_map import FEWEST_POSES, map_poses
from producer.exports.samples.settings import settings_of
from producer.exports.writing.shards import ExportIndex
from producer.sheets.contact_sheet import Sheet, picture_environment, sampled
from producer.sheets.pages import script_digest

MOST_SOURCES = 4


def render_report(
    export_index: ExportIndex,
    run: Run,
    statistics: Statistics,
    pictures: Markup | None,
    judged: Markup | None = None,
    by_control: Mapping[str, Acceptance] | None = None,
) -> str:
    """The page; `pictures` is what `report_pictures` made, `judged` what `render_judgements` made, where there is any.

    `by_control`: how many images of each control passed.
    """
    figures = shown(statistics, export_index.outcomes)
    del figures["Items that are not here, by reason"]  # the table of outcomes has them
    kept = list(statistics.poses.kept.values())
    poses = map_poses(kept) if len(kept) >= FEWEST_POSES else None
    shares = cluster_shares(statistics.poses, poses, by_control or {}) if poses else []
    return picture_environment().get_template("report.html.j2").render(
        title=run.name,
        export_index=export_index,
        run=run,
        statistics=statistics,
        total=sum(export_index.samples.values()),
        values={title: figure for title, figure in figures.items() if isinstance(figure, str)},
        plots={title: Markup(svg(draw, title)) for title, draw in figures.items() if not isinstance(draw, str)},
        pose_map=pose_map_svg(poses) if poses else None,
        pose_count=len(kept),
        clusters=[
            (cluster_svg(each, number), each, share)
            for number, (each, share) in enumerate(zip(poses.clusters, shares, strict=True))
        ]
        if poses
        else [],
        judged=judged or "",
        models=models(run),
        model_licence=model_licence(run),
        settings=settings_of(run),
        pictures=pictures or "",
        script_digest=script_digest(),
    )  # fmt: skip


def report_pictures(sheet: Sheet) -> Markup:
    """A few sources of the contact sheet as a part of the page, with how many they are of all."""
    template = picture_environment().get_template("report_pictures.html.j2")
    return Markup(template.render(sheet=sampled(sheet, most_rows=MOST_SOURCES)))
