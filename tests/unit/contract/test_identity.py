"""Digests are the same for the same content, on every machine, and differ for everything else."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posemill.contract.identity import control_digest, derived_seed, digest, item_digest, picture_digest
from posemill.contract.specs import ControlNetSpec, DetectSpec, GenerateSpec

DETECT = DetectSpec(detector="openpose")
GENERATE = GenerateSpec(model="m", base="b", controlnets=(ControlNetSpec(controlnet="c"),))


def other(value):
    """A value of the same kind that is not this one."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, tuple):
        return (*value, ControlNetSpec(controlnet="another"))
    return value + 1 if isinstance(value, int | float) else f"{value} "


def variants(spec):
    return [
        pytest.param(msgspec.structs.replace(spec, **{name: other(getattr(spec, name))}), id=name)
        for name in spec.__struct_fields__
    ]


def differing(spec, other) -> str:
    (name,) = (name for name in spec.__struct_fields__ if getattr(spec, name) != getattr(other, name))
    return str(name)


def test_digests_never_change():
    """Stored objects are found again by these: a change of one is a change of every key."""
    shared = picture_digest([DETECT], GENERATE)
    assert control_digest("00", DETECT) == "6a074ef78722f9e146e6d1047afc3f71"
    assert item_digest(shared, "00", "a chef", "", 7) == "3446a4f872c51afe0c5e66507ec8f013"
    assert derived_seed(0, "00", "a chef", 1) == 2469498593


def test_a_digest_does_not_depend_on_the_order_of_keys():
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})


def test_a_digest_tells_its_parts_apart():
    assert len({digest("a", "b"), digest("ab"), digest("b", "a"), digest(["a", "b"]), digest("a", "b", None)}) == 5


LATE = {"face_revision", "base_config_revision"}  # came into the specs later, filled in by posemill and no recipe


@pytest.mark.parametrize("spec", variants(DETECT))
def test_a_control_image_is_another_with_every_detect_setting(spec):
    same = control_digest("00", spec) == control_digest("00", DETECT)
    assert same == (differing(spec, DETECT) in LATE)


def test_a_control_image_is_another_with_other_bytes():
    assert control_digest("00", DETECT) != control_digest("01", DETECT)


@pytest.mark.parametrize("spec", [*variants(GENERATE), *variants(DETECT)])
def test_a_picture_is_another_with_every_setting_but_the_models_name(spec):
    changed = picture_digest([DETECT], spec) if isinstance(spec, GenerateSpec) else picture_digest([spec], GENERATE)
    name = differing(spec, GENERATE if isinstance(spec, GenerateSpec) else DETECT)
    assert (changed == picture_digest([DETECT], GENERATE)) == (name in LATE | {"model"})


def test_equal_settings_are_one_identity_however_they_were_given():
    given = ControlNetSpec(controlnet="c", controlnet_conditioning_scale=float("1"), control_guidance_end=float("1"))
    spelled_out = DetectSpec(detector="openpose", bg_th=float("0.1"), image_resolution=int("512"))
    assert control_digest("00", spelled_out) == control_digest("00", DETECT)
    assert picture_digest([DETECT], msgspec.structs.replace(GENERATE, controlnets=(given,))) == picture_digest(
        [DETECT], GENERATE
    )


@given(st.tuples(st.text(), st.text(), st.text(), st.integers(0, 2**63 - 1)), st.data())
def test_items_with_different_content_have_different_ids(content, data):
    place = data.draw(st.integers(0, 3))
    changed = [*content[:place], other(content[place]), *content[place + 1 :]]
    assert item_digest("shared", *content) != item_digest("shared", *changed)


@given(st.integers(0, 2**63 - 1), st.text(), st.text(), st.integers(0, 100_000))
def test_a_derived_seed_fits_32_bits(base, source, prompt, index):
    assert 0 <= derived_seed(base, source, prompt, index) < 2**32
