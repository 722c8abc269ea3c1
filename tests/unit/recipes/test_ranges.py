"""Every number of a recipe has the range and the default that the documents say, and every setting reaches the run."""

import math
from pathlib import Path

import pytest

from posemill.catalogue.models import MODELS
from posemill.contract.keys import Stage
from posemill.errors import RecipeError
from producer.recipes import resolving
from producer.recipes.recipe import SECTIONS, parse_recipe
from producer.recipes.resolving import resolve
from producer.recipes.yaml_values import read_yaml

HUGE = math.inf  # where nothing is too large
DETECTING = {
    "detect_resolution": (64, 4096), "image_resolution": (64, 4096), "min_score": (0, 1), "low_threshold": (0, 1000),
    "high_threshold": (0, 1000), "bg_th": (0, 1), "thr_v": (0, 1), "thr_d": (0, 512),
}  # fmt: skip
STRENGTH = {"controlnet_conditioning_scale": (0, 10)}
RANGES: dict[str, dict[str, tuple[float, float]]] = {
    "": {"seed": (0, 2**63 - 1), "seeds": (1, 100_000)},
    "detect": {**DETECTING, "min_people": (1, HUGE), "max_people": (1, HUGE), "limit_pixels": (1, HUGE),
               "batch_size": (1, 1000)},
    "controls": {**DETECTING, **STRENGTH, "control_guidance_start": (0, 0.999), "control_guidance_end": (0.001, 1)},
    "generate": {**STRENGTH, "num_inference_steps": (1, 1000), "guidance_scale": (0, 100), "width": (64, 4096),
                 "height": (64, 4096), "resolution": (64, 4096), "batch_size": (1, 256),
                 "control_guidance_start": (0, 0.999), "control_guidance_end": (0.001, 1)},
    "loras": {"weight": (-10, 10)},
    "verify": {"tries": (1, 20)},
}  # fmt: skip
BY_EIGHT = ("width", "height", "resolution")
CASES = [(section, name, *bounds) for section, keys in RANGES.items() for name, bounds in keys.items()]
DETECTORS = {"low_threshold": "canny", "high_threshold": "canny", "bg_th": "normal", "thr_v": "mlsd", "thr_d": "mlsd"}


def recipe_with(section: str, name: str, value: object) -> dict:
    """A recipe that is right but for this one value."""
    recipe: dict = {"sources": "a", "prompts": ["p"], "generate": {"model": "embedded"}}
    kind = DETECTORS.get(name, "openpose")
    if section == "controls":
        return {**recipe, "generate": {"model": "sd15-openpose"}, "controls": [{"kind": kind, name: value}]}
    if section == "loras":
        return {**recipe, "generate": {"model": "embedded", "loras": [{"lora": "a/b", name: value}]}}
    other = {"width": {"height": 64}, "height": {"width": 64}}.get(name, {})
    detector = {"detector": kind} if section == "detect" and name in DETECTORS else {}
    return recipe | (
        {section: {**recipe.get(section, {}), **other, **detector, name: value}} if section else {name: value}
    )


def complaint(section: str, name: str, value: object) -> str:
    """What the recipe with this value is refused for; empty where it is taken."""
    try:
        parse_recipe(recipe_with(section, name, value))
    except RecipeError as error:
        return str(error)
    return ""


def steps_of(name: str, least: float, most: float) -> tuple[float, float]:
    """The next values outside of the range."""
    step = 8 if name in BY_EIGHT else 1 if most > 10 else 0.001
    if name.startswith("control_guidance_"):  # the one ends after the other begins, so that neither meets both bounds
        least, most = 0, 1
    return least - step, most + step


@pytest.mark.parametrize(("section", "name", "least", "most"), CASES, ids=str)
def test_a_number_is_taken_from_its_least_to_its_most_and_none_beyond(section, name, least, most):
    below, above = steps_of(name, least, most)
    largest = 10**9 if most == HUGE else most
    assert (complaint(section, name, least), complaint(section, name, largest)) == ("", "")
    for beyond in (below, above) if most != HUGE else (below,):
        assert f"{name}: " in complaint(section, name, beyond)  # by its own range, and not for what it stands beside


def test_every_number_of_a_recipe_has_its_range_here():
    numbers = {
        (section, name)
        for section, part in SECTIONS.items()
        for name, field in part.model_fields.items()
        if any(hasattr(one, "ge") for one in field.metadata)
    }
    assert numbers <= {(section, name) for section, name, _, _ in CASES}


@pytest.mark.parametrize("name", BY_EIGHT)
def test_sizes_are_multiples_of_eight(name):
    assert [not complaint("generate", name, 512 + by) for by in (0, 1, 4, 8)] == [True, False, False, True]


@pytest.mark.parametrize(
    ("section", "name", "one", "most"),
    [
        pytest.param("", "controls", {"kind": "canny"}, 8, id="controls"),
        pytest.param("generate", "loras", "a/b", 16, id="adapters"),
    ],
)
def test_a_list_has_so_many_entries_at_most(section, name, one, most):
    def taken(count: int) -> bool:
        recipe = {"sources": "a", "generate": {"model": "sd15-canny"}}
        values = {name: [one] * count}
        recipe |= {section: recipe[section] | values} if section else values
        try:
            return bool(parse_recipe(recipe))
        except RecipeError:
            return False

    assert (taken(most), taken(most + 1)) == (True, False)


def test_a_list_of_seeds_holds_the_least_and_the_largest():
    assert parse_recipe({"sources": "a", "seeds": [0, 2**63 - 1]}).seeds == [0, 2**63 - 1]


EXAMPLES = {  # what the documents show and is no default
    "": {"name", "prompts", "matrix", "seeds", "sources", "detect", "generate", "controls", "verify"},
    "detect": {"detector", "weights"},  # the model's and the detector's
    "generate": {"model", "loras", "scheduler", "num_inference_steps", "guidance_scale"},  # the model's
    "controls": {"kind"},
    "loras": {"lora"},
    "verify": {"checks"},
}


@pytest.mark.parametrize("section", EXAMPLES)
def test_what_the_documents_show_is_the_default(section):
    text = (Path(__file__).parents[3] / "docs/recipes.md").read_text()
    shown = read_yaml(text.split("```yaml")[1].split("```")[0], where="docs/recipes.md")
    values = {"": shown, "loras": shown["generate"]["loras"]}.get(section) or shown[section]
    (values,) = values if isinstance(values, list) else [values]
    fields = SECTIONS[section].model_fields
    written = {name: value for name, value in values.items() if name not in EXAMPLES[section]}
    assert written == {name: fields[name].default for name in written}


def test_a_recipe_of_sources_alone_is_this_one():
    recipe = parse_recipe({"sources": "a"})
    assert (recipe.name, recipe.prompts, recipe.matrix, recipe.seeds, recipe.controls) == ("run", [], {}, 1, [])
    assert recipe.verify is None


@pytest.fixture
def _nothing_is_looked_up(monkeypatch):
    monkeypatch.setattr(resolving, "pinned", lambda model, revision: f"{model}@{revision}")


OTHERS = {
    "detect_resolution": 128, "image_resolution": 256, "min_score": 0.5, "exact": True, "low_threshold": 7,
    "high_threshold": 9, "bg_th": 0.3, "safe": True, "thr_v": 0.4, "thr_d": 0.6,
}  # fmt: skip


@pytest.mark.usefixtures("_nothing_is_looked_up")
@pytest.mark.parametrize("name", OTHERS)
def test_a_setting_of_a_detector_reaches_the_run(name):
    detector = {**DETECTORS, "safe": "hed"}.get(name, "openpose")
    recipe = {"sources": "a", "generate": {"base": "a/b", "controlnet": "c/d"}}
    recipe["detect"] = {"detector": detector, name: OTHERS[name]}
    assert getattr(resolve(parse_recipe(recipe), recipe, "r").detects[0], name) == OTHERS[name]


@pytest.mark.usefixtures("_nothing_is_looked_up")
def test_every_setting_of_the_generate_stage_reaches_the_run():
    wanted = {
        "base": "a/b", "base_revision": "r1", "base_config": "a/config", "controlnet": "c/d",
        "controlnet_revision": "r2", "vae": "a/vae", "vae_revision": "r3", "scheduler": "ddim",
        "num_inference_steps": 7, "guidance_scale": 0, "controlnet_conditioning_scale": 0.5,
        "control_guidance_start": 0.25, "control_guidance_end": 0.75, "width": 64, "height": 128, "resolution": 256,
        "variant": "full", "allow_pickle": True, "safety_checker": True, "long_prompts": "chunk",
        "image_format": "webp", "batch_size": 3, "queue": "mine",
    }  # fmt: skip
    lora = {"lora": "a/lora", "revision": "r4", "weight": 0.5, "file": "x.safetensors"}
    recipe = {"sources": "a", "priority": "high", "generate": {**wanted, "loras": [lora]}}
    run = resolve(parse_recipe(recipe), recipe, "r")
    (net,) = run.generate.controlnets
    same = ("base", "base_config", "vae", "scheduler", "num_inference_steps", "guidance_scale", "width", "height",
            "resolution", "variant", "allow_pickle", "safety_checker", "long_prompts")  # fmt: skip
    assert {name: getattr(run.generate, name) for name in same} == {name: wanted[name] for name in same}
    steered = ("controlnet", "controlnet_conditioning_scale", "control_guidance_start", "control_guidance_end")
    assert {name: getattr(net, name) for name in steered} == {name: wanted[name] for name in steered}
    assert (run.generate.base_revision, net.controlnet_revision) == ("a/b@r1", "c/d@r2")
    assert (run.generate.vae_revision, run.generate.base_config_revision) == ("a/vae@r3", "a/config@None")
    (adapter,) = run.generate.loras
    assert (adapter.lora, adapter.revision, adapter.weight, adapter.file) == (
        "a/lora", "a/lora@r4", 0.5, "x.safetensors",
    )  # fmt: skip
    assert (run.image_format, run.priority, run.generate.model) == ("webp", "high", "a/b")
    assert (run.slicing[Stage.GENERATE].batch_size, run.queues[Stage.GENERATE]) == (3, "mine")


@pytest.mark.usefixtures("_nothing_is_looked_up")
def test_the_detect_stage_s_own_settings_reach_the_run():
    detect = {"min_people": 2, "max_people": 3, "limit_pixels": 1000, "batch_size": 5, "queue": "mine",
              "weights": "me/weights", "revision": "r1"}  # fmt: skip
    recipe = {"sources": "a", "name": "chefs", "detect": detect}
    run = resolve(parse_recipe(recipe), recipe, "r")
    assert (run.rules.min_people, run.rules.max_people) == (2, 3)
    assert (run.detects[0].limit_pixels, run.detects[0].weights, run.detects[0].revision) == (
        1000, "me/weights", "me/weights@r1",
    )  # fmt: skip
    assert (run.slicing[Stage.DETECT].batch_size, run.queues[Stage.DETECT]) == (5, "mine")
    assert (run.id, run.name, run.recipe, run.verify) == ("r", "chefs", recipe, None)


@pytest.mark.usefixtures("_nothing_is_looked_up")
@pytest.mark.parametrize("model", MODELS)
def test_what_a_recipe_does_not_say_comes_from_its_model_s_row(model):
    recipe = {"sources": "a", "generate": {"model": model}}
    spec, row = resolve(parse_recipe(recipe), recipe, "r").generate, MODELS[model]
    assert (spec.model, spec.base, spec.controlnets[0].controlnet) == (model, row.base, row.controlnet)
    assert (spec.num_inference_steps, spec.guidance_scale) == (row.num_inference_steps, row.guidance_scale)
    assert (spec.scheduler, spec.resolution) == (str(row.scheduler), row.resolution)
    assert (spec.vae, spec.vae_revision, spec.base_config, spec.base_config_revision) == (None, None, None, None)


@pytest.mark.usefixtures("_nothing_is_looked_up")
def test_a_model_of_no_table_is_made_as_in_the_model_card_s_example():
    recipe = {"sources": "a", "generate": {"base": "a/b", "controlnet": "c/d"}}
    spec = resolve(parse_recipe(recipe), recipe, "r").generate
    assert (spec.num_inference_steps, spec.guidance_scale, spec.scheduler, spec.resolution) == (20, 7.5, "unipc", None)
