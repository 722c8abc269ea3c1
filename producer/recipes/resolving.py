"""Turns a recipe into the frozen run: named models filled in, revisions pinned, batches sized."""

import os
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Any

import msgspec

from posemill import __version__
from posemill.catalogue.checks import CHECKS, options_of
from posemill.catalogue.detectors import ANNOTATORS, CARD_WEIGHTS, DETECTORS, FACE, DetectorRow
from posemill.catalogue.models import EMBEDDED, MODELS, MOVED, SD15_CONTROLNETS, NamedModel, SchedulerName
from posemill.catalogue.pairing import local_base, local_controlnet, mismatch
from posemill.contract.identity import digest
from posemill.contract.keys import Stage, queue_name
from posemill.contract.records import CheckSpec, Rules, Run, VerifySpec, slicing_for
from posemill.contract.specs import ControlNetSpec, DetectSpec, GenerateSpec, LoraSpec
from posemill.contract.stages import STAGES
from posemill.errors import RecipeError
from posemill.hub.needs import verify_at_commits
from producer.recipes.control_recipe import ControlRecipe, DetectorSettings, Part, require_supported
from producer.recipes.recipe import GenerateRecipe, LoraRecipe, Recipe, parse_recipe, read_recipe, recipe_folder
from producer.recipes.revisions import exists, pinned
from producer.recipes.verify_recipe import CheckRecipe, VerifyRecipe
from producer.sources.rows import expanded

MODEL_KEYS = frozenset(("base", "base_config", "controlnet", "vae", "lora", "weights"))  # hub ids, folders or files
CARD_STEPS, CARD_GUIDANCE = 20, 7.5  # for models that are in no table, as in the model card's example


def new_run_id(name: str) -> str:
    """A run id that nobody has: the recipe's name, the time, and random digits."""
    return f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{token_hex(2)}"


class OpenedRecipe(msgspec.Struct, frozen=True, kw_only=True):
    """A recipe that was read and checked, with what resolves it into a run."""

    recipe: Recipe
    values: dict[str, Any]  # as they were written, overrides applied: what the run keeps
    folder: Path  # where relative paths of sources and models begin

    def as_run(self, run_id: str) -> Run:
        """The recipe with every model, revision and default in its place. Raises RecipeError."""
        return resolve(self.recipe, self.values, run_id, self.folder)


def open_recipe(recipe: str | Path | dict[str, Any], overrides: tuple[str, ...] = ()) -> OpenedRecipe:
    """Read and check a YAML file, or a mapping with the same keys. Raises RecipeError that names every wrong key."""
    values = read_recipe(recipe, overrides)
    checked = parse_recipe(values, where=str(recipe) if not isinstance(recipe, dict) else "recipe")
    return OpenedRecipe(recipe=checked, values=values, folder=recipe_folder(recipe))


def resolve(recipe: Recipe, values: dict[str, Any], run_id: str, folder: Path | None = None) -> Run:
    """`folder`: where relative paths of models begin; the current one where nothing else is said.

    Raises RecipeError when a model cannot be found, or a setting is one that its detector does not have.
    """
    recipe = anchored(recipe, folder or Path.cwd())
    detects, kinds = _detect_specs(recipe)
    generate = generate_spec(recipe)
    require_pairing(generate)
    stages = [stage for stage in Stage if getattr(recipe, stage)]  # sections of the recipe, named as stages
    return Run(
        id=run_id,
        name=recipe.name,
        created_at=datetime.now(UTC).isoformat(timespec="microseconds"),
        recipe=values,
        recipe_digest=digest(recipe.model_dump(mode="json", exclude_defaults=True)),
        detects=detects,
        kinds=kinds,
        rules=_rules(recipe, kinds),
        generate=generate,
        slicing={stage: slicing_for(getattr(recipe, STAGES[stage].planned_by).batch_size) for stage in stages},
        queues={stage: getattr(recipe, stage).queue or queue_name(stage) for stage in stages},
        posemill_version=__version__,
        priority=recipe.priority,
        image_format=recipe.generate.image_format,
        verify=verify_spec(recipe.verify, kinds, folder or Path.cwd()) if recipe.verify else None,
    )


def anchored(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe with whole paths for the models that lie on this machine; hub ids stay."""

    def changed(section: Part) -> Part:
        models = {name: value for name, value in section if name in MODEL_KEYS and value}
        return section.model_copy(update={name: _anchored(value, folder) for name, value in models.items()})

    generate = changed(recipe.generate).model_copy(update={"loras": [changed(lora) for lora in recipe.generate.loras]})
    update: dict[str, Any] = {"generate": generate, "detect": changed(recipe.detect)}
    return recipe.model_copy(update=update | {"controls": [changed(control) for control in recipe.controls]})


def _anchored(model: str, folder: Path) -> str:
    """A whole path for what lies below `folder`, and for what can only be a path; anything else is a hub id."""
    if model.startswith(EMBEDDED):
        return model
    path = folder / expanded(model)
    return os.path.abspath(path) if model.startswith((".", "/", "~")) or exists(path) else model


def _rules(recipe: Recipe, kinds: tuple[str, ...]) -> Rules:
    if "openpose" not in kinds and recipe.detect.model_fields_set & {"min_people", "max_people"}:
        raise RecipeError(f"detect: min_people and max_people need a pose; {', '.join(kinds)} finds no people")
    return Rules(min_people=recipe.detect.min_people, max_people=recipe.detect.max_people)


def verify_spec(verify: VerifyRecipe, kinds: tuple[str, ...], folder: Path) -> VerifySpec:
    """How images are judged. Raises RecipeError where people are to be compared that no control knows.

    `folder`: where relative paths of the checks' models begin.
    """
    if verify.looks_for_people and "openpose" not in kinds:
        raise RecipeError(f"verify: poses cannot be compared; {', '.join(kinds)} finds no people")
    checks = (_check_spec(one, folder) for one in verify.checks)
    spec = VerifySpec(checks=tuple(checks), tries=verify.tries, keep_rejects=verify.keep_rejects)
    return verify_at_commits(spec, pinned)


def _check_spec(check: CheckRecipe, folder: Path) -> CheckSpec:
    options = options_of(check.check, check.given)
    if check.check in CHECKS and CHECKS[check.check].has_model:
        options["model"] = _anchored(str(options["model"]), folder)
    return CheckSpec(check=check.check, options=options)


def _detect_specs(recipe: Recipe) -> tuple[tuple[DetectSpec, ...], tuple[str, ...]]:
    """How each control image is made, and of what kind it is."""
    limit_pixels = recipe.detect.limit_pixels
    if recipe.controls:
        specs = (_detect_spec(control, control.detector or control.kind, limit_pixels) for control in recipe.controls)
        return tuple(specs), tuple(control.kind for control in recipe.controls)
    named = MODELS.get(recipe.generate.model or "")
    expected = named.detector if named else "openpose"
    detector = recipe.detect.detector or expected
    kind = DETECTORS[detector].kind or DETECTORS[expected].kind
    return (_detect_spec(recipe.detect, detector, limit_pixels),), (kind,)


def _detect_spec(wanted: DetectorSettings, detector: str, limit_pixels: int) -> DetectSpec:
    row = DETECTORS[detector]
    try:
        require_supported(detector, wanted.model_fields_set, wanted.weights)
    except ValueError as error:
        raise RecipeError(f"detect: {error}") from error
    weights = wanted.weights or row.weights
    return DetectSpec(
        detector=detector,
        weights=weights,
        revision=_detector_revision(detector, weights, wanted.revision),
        face_revision=pinned(ANNOTATORS, None) if weights == CARD_WEIGHTS and FACE in row.files else None,
        include_hand=_switch(wanted, row, "include_hand"),
        include_face=_switch(wanted, row, "include_face"),
        detect_resolution=wanted.detect_resolution,
        image_resolution=wanted.image_resolution,
        min_score=wanted.min_score,
        limit_pixels=limit_pixels,
        exact=wanted.exact,
        low_threshold=wanted.low_threshold,
        high_threshold=wanted.high_threshold,
        bg_th=wanted.bg_th,
        safe=wanted.safe,
        thr_v=wanted.thr_v,
        thr_d=wanted.thr_d,
    )


def _switch(wanted: DetectorSettings, row: DetectorRow, name: str) -> bool:
    """As the recipe says; as is usual with the detector where it says nothing."""
    return bool(getattr(wanted, name)) if name in wanted.model_fields_set else name in row.on


def maintained(model: str) -> str:
    """The hub id under which a model is kept today, where its old one was deleted; else the same."""
    return MOVED.get(model, model)


def _detector_revision(detector: str, weights: str | None, revision: str | None) -> str | None:
    if shipped := DETECTORS[detector].shipped:
        return pinned(f"{EMBEDDED}{shipped}", None)
    return pinned(weights, revision) if weights else None


def generate_spec(recipe: Recipe) -> GenerateSpec:
    """How pictures are made: the named model's row, with what the recipe says instead. Raises RecipeError."""
    wanted = recipe.generate
    named = MODELS.get(wanted.model or "")
    base = maintained(wanted.base or (named.base if named else ""))
    steps = named.num_inference_steps if named else CARD_STEPS
    guidance = named.guidance_scale if named else CARD_GUIDANCE
    scheduler = named.scheduler if named else SchedulerName.UNIPC
    return GenerateSpec(
        model=wanted.model or base,
        base=base,
        controlnets=_controlnets(recipe, named),
        base_revision=pinned(base, wanted.base_revision),
        scheduler=str(wanted.scheduler or scheduler),
        num_inference_steps=wanted.num_inference_steps or steps,
        guidance_scale=guidance if wanted.guidance_scale is None else wanted.guidance_scale,
        width=wanted.width,
        height=wanted.height,
        resolution=wanted.resolution or (named.resolution if named else None),
        safety_checker=wanted.safety_checker,
        long_prompts=wanted.long_prompts,
        base_config=wanted.base_config,
        base_config_revision=pinned(wanted.base_config, None) if wanted.base_config else None,
        variant=wanted.variant,
        allow_pickle=wanted.allow_pickle,
        vae=wanted.vae,
        vae_revision=pinned(wanted.vae, wanted.vae_revision) if wanted.vae else None,
        loras=(*_own_lora(named), *(_lora(lora) for lora in wanted.loras)),
    )


def _own_lora(named: NamedModel | None) -> tuple[LoraSpec, ...]:
    """The adapter that belongs to a named model."""
    if named is None or not named.lora:
        return ()
    return (LoraSpec(lora=named.lora, revision=pinned(named.lora, None), file=named.lora_file or None),)


def _lora(wanted: LoraRecipe) -> LoraSpec:
    return LoraSpec(
        lora=wanted.lora,
        revision=pinned(wanted.lora, wanted.revision),
        file=wanted.file,
        weight=wanted.weight,
    )


def require_pairing(spec: GenerateSpec) -> None:
    """Raises RecipeError when a ControlNet is another family's than the base, as far as files of this machine tell."""
    base = local_base(spec.base, spec.base_revision)
    for net in spec.controlnets:
        config = local_controlnet(net.controlnet, net.controlnet_revision)
        trouble = mismatch(base, config) if base and config else None
        if trouble:
            raise RecipeError(f"generate: {net.controlnet} cannot be used with {spec.base}: {trouble}")


def _controlnets(recipe: Recipe, named: NamedModel | None) -> tuple[ControlNetSpec, ...]:
    """One ControlNet for each control. Raises RecipeError when one is neither given nor in the table."""
    if not recipe.controls:
        model = recipe.generate.controlnet or (named.controlnet if named else "")
        return (_controlnet(recipe.generate, model),)
    known = named.controlnets if named else SD15_CONTROLNETS
    found = []
    for control in recipe.controls:
        model = control.controlnet or known.get(control.kind, "")
        if not model:
            raise RecipeError(
                f"controls: model {recipe.generate.model!r} has no ControlNet for {control.kind}; give its controlnet"
            )
        found.append(_controlnet(control, model))
    return tuple(found)


def _controlnet(wanted: ControlRecipe | GenerateRecipe, model: str) -> ControlNetSpec:
    return ControlNetSpec(
        controlnet=model,
        controlnet_revision=pinned(model, wanted.controlnet_revision),
        controlnet_conditioning_scale=wanted.controlnet_conditioning_scale,
        control_guidance_start=wanted.control_guidance_start,
        control_guidance_end=wanted.control_guidance_end,
    )
