"""report.html: everything about a data set on one page that opens without a network."""

import io
from base64 import b64encode

from markupsafe import Markup
from PIL import Image

from posemill.records import Run
from producer.exports.card import model_licence, models, settings_of
from producer.exports.pages import environment
from producer.exports.plots import histograms, pose_map_svg, svg
from producer.exports.pose_map import map_poses
from producer.exports.shards import Manifest
from producer.exports.statistics import Statistics

SHEET_WIDTH = 1800  # pixels


def render_report(manifest: Manifest, run: Run, statistics: Statistics, sheet: bytes | None) -> str:
    """The page; `sheet` is the contact sheet as PNG, where there is one."""
    plots = {title: Markup(svg(draw, title)) for title, draw in histograms(statistics, manifest.outcomes).items()}
    poses = map_poses(list(statistics.poses.kept.values()))
    total = sum(manifest.samples.values())
    return environment().get_template("report.html.j2").render(
        title=run.name,
        manifest=manifest,
        run=run,
        statistics=statistics,
        total=total,
        plots=plots,
        pose_map=Markup(pose_map_svg(poses)) if poses.places else None,
        pose_count=len(poses.places),
        models=models(run),
        model_licence=model_licence(run),
        settings={"generate": settings_of(run.generate), "detect": settings_of(run.detect)},
        sheet=_inline(sheet) if sheet else "",
    )  # fmt: skip


def _inline(png: bytes) -> str:
    """The sheet as an address that holds its content; scaled down where it is wide."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    if picture.width > SHEET_WIDTH:
        picture = picture.resize(
            (SHEET_WIDTH, round(picture.height * SHEET_WIDTH / picture.width)), Image.Resampling.LANCZOS
        )
    content = io.BytesIO()
    picture.save(content, "WEBP", quality=82)
    return f"data:image/webp;base64,{b64encode(content.getvalue()).decode()}"
