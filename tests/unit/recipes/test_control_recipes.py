"""Several controls in a recipe: what they resolve to, what is refused, and which identities they have."""

import pytest

from posemill.catalogue.detectors import DETECTORS, KINDS, OWN_SETTINGS
from posemill.catalogue.models import MODELS
from posemill.contract.identity import control_digest, picture_digest
from posemill.contract.records import Run, Source, decode, encode
from posemill.contract.specs import DetectSpec, LoraSpec
from posemill.errors import RecipeError, RowError
from producer.recipes import resolving
from producer.recipes.recipe import parse_recipe
from producer.recipes.resolving import resolve
from producer.sources.rows import Candidate, Row
from producer.submitting.planning import Expander

PINNED = "0" * 40
THREE = [
    {"kind": "openpose", "detector": "openpose-thin"},
    {"kind": "canny", "low_threshold": 50, "controlnet_conditioning_scale": 0.5},
    {"kind": "depth", "control_guidance_end": 0.6},
]


@pytest.fixture(autouse=True)
def _nothing_is_looked_up(monkeypatch):
    monkeypatch.setattr(resolving, "pinned", lambda model, revision: revision or PINNED)


def resolved(**more) -> Run:
    values = {"sources": "a", "prompts": ["p"], **more}
    return resolve(parse_recipe(values), values, "r")


def refusal(**more) -> str:
    with pytest.raises(RecipeError) as raised:
        resolved(**more)
    return str(raised.value)


@pytest.mark.parametrize(
    ("recipe", "control", "picture", "whole"),
    [
        pytest.param(
            {},
            "6d2e75709d3f41bf5a00fb3c5b47608f",
            "8bc1c0732606fd63ec82d46dd04c1b7d",
            "c7f40a7713c0c11a9a80e916c829fa12",
            id="the model card's example",
        ),
        pytest.param(
            {"generate": {"model": "embedded"}},
            "07b340bd3105bd89e03092e1b8ed8e2c",
            "d3fb799c205dccf8c47e42c15fb0e927",
            "6b49d6b0d6c562c1d4304aa25ed19c03",
            id="embedded",
        ),
        pytest.param(
            {
                "detect": {"detector": "openpose", "include_hand": True, "min_score": 0.25},
                "generate": {"base": "a/b", "controlnet": "c/d", "guidance_scale": 5, "scheduler": "ddim",
                             "controlnet_conditioning_scale": 0.5, "width": 512, "height": 768},
            },
            "9a80d377d8268444a882e70350bbf9df",
            "12962ed71e0c6420710131cfd60c338f",
            "25bd8177702ad949addb04303fc28094",
            id="many settings",
        ),
        pytest.param(
            {
                "detect": {"detector": "keypoints", "image_resolution": 768},
                "generate": {"model": "sd15-openpose", "long_prompts": "chunk", "controlnet_conditioning_scale": 1.0},
            },
            "2cc779894b587daf5f9e691560f1c0db",
            "9ee4aa28d2dc125feee35dc83a8b860e",
            "83add9d90619a4107be98135e1f2a86e",
            id="ready-made poses",
        ),
    ],
)  # fmt: skip
def test_recipes_keep_their_identities(monkeypatch, recipe, control, picture, whole):
    monkeypatch.setattr(resolving, "pinned", lambda model, revision: PINNED)
    run = resolved(**recipe)
    for one in (run, decode(encode(run), Run)):
        assert control_digest("00", one.detects[0]) == control
        assert picture_digest(one.detects, one.generate) == picture
        assert one.recipe_digest == whole


def test_a_base_under_its_deleted_name_is_the_same_run_as_under_its_copy_s():
    old, copy = "runwayml/stable-diffusion-v1-5", "stable-diffusion-v1-5/stable-diffusion-v1-5"
    under = {name: resolved(generate={"base": name, "controlnet": "a/b"}) for name in (old, copy)}
    assert under[old].generate == under[copy].generate
    assert (under[old].generate.base, under[old].recipe["generate"]["base"]) == (copy, old)


def test_three_controls_are_three_detections_and_three_controlnets():
    run = resolved(controls=THREE)
    assert run.kinds == ("openpose", "canny", "depth")
    assert [spec.detector for spec in run.detects] == ["openpose-thin", "canny", "depth"]
    assert run.detects[1].low_threshold == 50
    assert [(net.controlnet, net.controlnet_conditioning_scale, net.control_guidance_end)
            for net in run.generate.controlnets] == [
        ("lllyasviel/sd-controlnet-openpose", 1.0, 1.0),
        ("lllyasviel/sd-controlnet-canny", 0.5, 1.0),
        ("lllyasviel/sd-controlnet-depth", 1.0, 0.6),
    ]  # fmt: skip
    assert decode(encode(run), Run) == run


def test_one_control_in_the_long_form_is_the_same_picture_as_in_the_short_form():
    long = resolved(controls=[{"kind": "canny", "low_threshold": 50}])
    short = resolved(detect={"low_threshold": 50}, generate={"model": "sd15-canny"})
    assert picture_digest(long.detects, long.generate) == picture_digest(short.detects, short.generate)


def test_a_further_control_its_place_and_its_strength_each_make_another_picture():
    recipes = [
        THREE[:1],
        THREE[:2],
        [THREE[1], THREE[0]],
        [THREE[0], {**THREE[1], "controlnet_conditioning_scale": 0.6}],
        [THREE[0], {**THREE[1], "high_threshold": 90}],
    ]
    runs = [resolved(controls=controls) for controls in recipes]
    assert len({picture_digest(run.detects, run.generate) for run in runs}) == len(runs)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_named_model_with_its_own_detector(kind):
    run = resolved(generate={"model": f"sd15-{kind}"})
    assert (run.detects[0].detector, run.kinds) == (kind, (kind,))
    assert run.generate.controlnets[0].controlnet == f"lllyasviel/sd-controlnet-{kind}"
    assert run.detects[0].weights == DETECTORS[kind].weights


def test_whole_bodies_are_drawn_with_hands_and_face_unless_the_recipe_says_otherwise():
    assert resolved(detect={"detector": "dwpose"}).detects[0].include_hand
    without = resolved(detect={"detector": "dwpose", "include_hand": False}).detects[0]
    assert (without.include_hand, without.include_face) == (False, True)
    assert not resolved().detects[0].include_hand


@pytest.mark.parametrize("setting", OWN_SETTINGS)
def test_every_setting_of_the_table_is_one_of_the_specification(setting):
    assert setting in DetectSpec.__struct_fields__


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        pytest.param({"controls": [{"kind": "edges"}]}, "controls.0.kind", id="unknown kind"),
        pytest.param({"controls": [{"kind": "depth", "detector": "canny"}]}, "of kind depth", id="another's detector"),
        pytest.param({"controls": [{"kind": "canny", "thr_v": 0.2}]}, "canny has no thr_v", id="another's setting"),
        pytest.param(
            {"generate": {"model": "sd15-canny"}, "detect": {"safe": True}}, "canny has no safe", id="default"
        ),
        pytest.param({"controls": [{"kind": "canny", "weights": "a/b"}]}, "takes no weights", id="weights"),
        pytest.param({"controls": THREE, "detect": {"detector": "canny"}}, "its own detector", id="said twice"),
        pytest.param(
            {"controls": THREE, "generate": {"model": "sd15-canny", "controlnet": "a/b"}},
            "its own controlnet",
            id="net",
        ),
        pytest.param(
            {"controls": [{"kind": "openpose", "detector": "keypoints"}, THREE[1]]}, "no pictures", id="poses"
        ),
        pytest.param(
            {"controls": [{"kind": "canny", "control_guidance_start": 0.5, "control_guidance_end": 0.5}]},
            "not before",
            id="ends before it begins",
        ),
        pytest.param(
            {"controls": [THREE[1]], "generate": {"model": "embedded"}},
            "no ControlNet for canny",
            id="none in the table",
        ),
        pytest.param(
            {"generate": {"model": "sd15-depth"}, "detect": {"min_people": 2}}, "depth finds no people", id="people"
        ),
        pytest.param({"generate": {"base": "a/b"}}, "both base and controlnet", id="no ControlNet"),
    ],
)
def test_controls_that_cannot_be_are_refused_in_words(wrong, says):
    assert says in refusal(**wrong)


def test_a_base_of_one_s_own_takes_the_card_s_controlnets():
    run = resolved(controls=THREE[:2], generate={"base": "me/dreambooth"})
    assert (run.generate.base, run.generate.controlnets[0].controlnet) == (
        "me/dreambooth",
        "lllyasviel/sd-controlnet-openpose",
    )


def test_adapters_and_a_vae_of_choice_are_pinned_and_make_another_picture():
    generate = {"model": "sd15-canny", "vae": "a/vae", "loras": ["a/lora", {"lora": "b/lora", "weight": 0.5}]}
    run = resolved(generate=generate)
    assert run.generate.loras == (
        LoraSpec(lora="a/lora", revision=PINNED),
        LoraSpec(lora="b/lora", revision=PINNED, weight=0.5),
    )
    assert run.generate.models == (
        "stable-diffusion-v1-5/stable-diffusion-v1-5", "lllyasviel/sd-controlnet-canny", "a/vae", "a/lora", "b/lora"
    )  # fmt: skip
    plain = resolved(generate={"model": "sd15-canny"})
    assert picture_digest(run.detects, run.generate) != picture_digest(plain.detects, plain.generate)


@pytest.mark.parametrize(
    ("recipe", "row"),
    [
        pytest.param(
            {"controls": THREE}, {"control_image": Candidate(name="c", uri="s3://b/c")}, id="one image for three"
        ),
        pytest.param(
            {"generate": {"model": "sd15-canny"}}, {"source": Candidate(name="p", pose={})}, id="a pose for canny"
        ),
    ],
)
def test_a_row_whose_content_is_another_kind_s_is_refused(recipe, row):
    values = {"sources": "a", "prompts": ["p"], **recipe}
    expander = Expander(parse_recipe(values), resolved(**recipe))
    with pytest.raises(RowError, match="give a source"):
        expander.items(Row(place="m:1", **row), Source(name="a", identity="1"), 0)


@pytest.mark.parametrize(
    ("given", "used"), [({}, "ugly"), ({"negative_prompt": ""}, ""), ({"negative_prompt": "x"}, "x")]
)
def test_a_model_s_negative_prompt_is_used_where_the_recipe_has_none(monkeypatch, given, used):
    import msgspec

    monkeypatch.setitem(MODELS, "embedded", msgspec.structs.replace(MODELS["embedded"], negative_prompt="ugly"))
    recipe = {"generate": {"model": "embedded", **given}}
    expander = Expander(parse_recipe({"sources": "a", "prompts": ["p"], **recipe}), resolved(**recipe))
    row = Row(place="m:1", source=Candidate(name="a", uri="s3://b/a"))
    (item,) = expander.items(row, Source(name="a", identity="1", uri="s3://b/a"), 0)
    assert item.negative_prompt == used
