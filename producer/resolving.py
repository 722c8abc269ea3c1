"""Turns a recipe into the frozen run: named models filled in, revisions pinned, batches sized."""

import re
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any

from posemill import __version__
from posemill.errors import BadInput
from posemill.identity import digest
from posemill.models import EMBEDDED, MODELS, SchedulerName
from posemill.names import Stage, queue_name
from posemill.records import Rules, Run
from posemill.specs import DetectSpec, GenerateSpec
from producer.planning import slicing
from producer.recipe import Recipe
from producer.revisions import pinned

CARD_STEPS, CARD_GUIDANCE = 20, 7.5  # for models that are in no table, as in the model card's example


def new_run_id(name: str) -> str:
    return f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{token_hex(2)}"


def checked_run_id(run_id: str) -> str:
    """The run id as it was given. Raises BadInput when it cannot be part of a key."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", run_id):
        raise BadInput(f"run id {run_id!r}: use up to 100 letters, digits, dots, dashes and underscores")
    return run_id


def resolve(recipe: Recipe, values: dict[str, Any], run_id: str) -> Run:
    """Raises RecipeError when a model cannot be found."""
    return Run(
        id=run_id,
        name=recipe.name,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        recipe=values,
        recipe_digest=digest(recipe.model_dump(mode="json", exclude_defaults=True)),
        detect=_detect_spec(recipe),
        rules=Rules(min_people=recipe.detect.min_people, max_people=recipe.detect.max_people),
        generate=_generate_spec(recipe),
        slicing={
            Stage.DETECT: slicing(recipe.detect.batch_size),
            Stage.GENERATE: slicing(recipe.generate.batch_size),
        },
        queues={
            Stage.DETECT: recipe.detect.queue or queue_name(Stage.DETECT),
            Stage.GENERATE: recipe.generate.queue or queue_name(Stage.GENERATE),
        },
        posemill_version=__version__,
        priority=recipe.priority,
        image_format=recipe.generate.image_format,
    )


def _detect_spec(recipe: Recipe) -> DetectSpec:
    wanted = recipe.detect
    named = MODELS.get(recipe.generate.model or "")
    detector = wanted.detector or (named.detector if named else "openpose")
    weights = (wanted.weights or "lllyasviel/ControlNet") if detector == "openpose" else None
    return DetectSpec(
        detector=detector,
        weights=weights,
        revision=_detector_revision(detector, weights, wanted.revision),
        include_hand=wanted.include_hand,
        include_face=wanted.include_face,
        detect_resolution=wanted.detect_resolution,
        image_resolution=wanted.image_resolution,
        min_score=wanted.min_score,
        limit_pixels=wanted.limit_pixels,
        exact=wanted.exact,
    )


def _detector_revision(detector: str, weights: str | None, revision: str | None) -> str | None:
    if detector == "openpose-thin":
        return pinned(f"{EMBEDDED}openpose_thin", None)
    return pinned(weights, revision) if weights else None


def _generate_spec(recipe: Recipe) -> GenerateSpec:
    wanted = recipe.generate
    named = MODELS.get(wanted.model or "")
    base = wanted.base or (named.base if named else "")
    controlnet = wanted.controlnet or (named.controlnet if named else "")
    steps = named.num_inference_steps if named else CARD_STEPS
    guidance = named.guidance_scale if named else CARD_GUIDANCE
    scheduler = named.scheduler if named else SchedulerName.UNIPC
    return GenerateSpec(
        model=wanted.model or base,
        base=base,
        controlnet=controlnet,
        base_revision=pinned(base, wanted.base_revision),
        controlnet_revision=pinned(controlnet, wanted.controlnet_revision),
        scheduler=str(wanted.scheduler or scheduler),
        num_inference_steps=wanted.num_inference_steps or steps,
        guidance_scale=guidance if wanted.guidance_scale is None else wanted.guidance_scale,
        controlnet_conditioning_scale=wanted.controlnet_conditioning_scale,
        width=wanted.width,
        height=wanted.height,
        resolution=wanted.resolution or (named.resolution if named else None),
        safety_checker=wanted.safety_checker,
        long_prompts=wanted.long_prompts,
    )
