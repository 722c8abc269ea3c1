"""The rules of exports that need no storage: splits, near-duplicates, shapes, poses, counts."""

import io
import sys
import warnings
from pathlib import Path

import msgspec
import pytest
from PIL import Image

from posemill.errors import BadInput
from posemill.extras import require_extra
from posemill.pictures.hashes import perceptual_hash
from posemill.pictures.poses import BODY_KEYPOINTS, Person, Pose, to_openpose_json
from producer.exports.counts.duplicates import Duplicates
from producer.exports.counts.poses_seen import MOST, PosesSeen, normalised
from producer.exports.counts.statistics import MOST_KINDS, OTHERS, Statistics, count
from producer.exports.report.plots import only, only_bin, overview_png, shown, svg
from producer.exports.report.pose_figures import cluster_svg, pose_map_svg
from producer.exports.report.pose_map import map_poses
from producer.exports.samples.controls import fitted_control
from producer.exports.samples.keeping import Kept
from producer.exports.samples.keypoints import coco_text, placed
from producer.exports.samples.options import Options
from producer.exports.samples.splits import split_of

CASES = Path(__file__).parents[1] / "cases"


def test_a_source_is_always_in_the_same_split_and_the_shares_hold() -> None:
    splits = [split_of(f"source {n}", validation=0.2, test=0.1) for n in range(4000)]
    drawn = "validation train train validation train validation train train validation validation test test"
    assert splits[:12] == drawn.split(), "another digest would reshuffle every user's data set unseen"
    assert abs(splits.count("validation") / 4000 - 0.2) < 0.03
    assert abs(splits.count("test") / 4000 - 0.1) < 0.03


def test_a_larger_share_takes_sources_over_and_gives_none_back() -> None:
    small, large = ({n for n in range(1000) if split_of(str(n), validation=0, test=share) == "test"}
                    for share in (0.1, 0.3))  # fmt: skip
    assert small < large


def test_without_shares_everything_is_to_train_on() -> None:
    assert {split_of(str(n), validation=0.0, test=0.0) for n in range(100)} == {"train"}


def identifier(number: int) -> str:
    return f"{number:032x}"


@pytest.mark.parametrize("bits", [0b0, 0b1, 1 << 63 | 1, 1 << 5 | 1 << 20 | 1 << 40])
def test_up_to_three_different_bits_are_a_near_duplicate(bits: int) -> None:
    table = Duplicates(remembered=8)
    assert table.add(identifier(1), 0x0123456789ABCDEF) == ""
    assert table.add(identifier(2), 0x0123456789ABCDEF ^ bits) == identifier(1)


def test_four_different_bits_are_another_picture() -> None:
    table = Duplicates(remembered=8)
    table.add(identifier(1), 0)
    assert table.add(identifier(2), 0b1111) == ""


def test_the_table_forgets_the_oldest_and_never_grows() -> None:
    table = Duplicates(remembered=4)
    sizes = set()
    for number in range(1, 12):
        assert table.add(identifier(number), number * 0x1111_2222_3333_4444 % 2**64) == ""
        sizes.add((len(table._hashes), len(table._ids), len(table._earlier[0])))
    assert len(sizes) == 1
    assert table.add(identifier(99), 9 * 0x1111_2222_3333_4444 % 2**64) == identifier(9)
    assert table.add(identifier(98), 2 * 0x1111_2222_3333_4444 % 2**64) == "", "the second has been forgotten"


def patchwork(seed: int = 1) -> Image.Image:
    import random

    patches = Image.frombytes("RGB", (8, 8), random.Random(seed).randbytes(192))
    return patches.resize((96, 96), Image.Resampling.BICUBIC)


def test_a_picture_compressed_and_scaled_keeps_its_perceptual_hash_and_another_has_another() -> None:
    content = io.BytesIO()
    patchwork().resize((80, 80)).save(content, "JPEG", quality=80)
    first, again, other = map(perceptual_hash, (patchwork(), Image.open(content), patchwork(2)))
    assert (first ^ again).bit_count() <= 3
    assert (first ^ other).bit_count() > 10


def png(picture: Image.Image) -> bytes:
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()


def test_a_control_image_of_the_images_shape_stays_as_it_is() -> None:
    content = png(Image.new("RGB", (96, 64), "red"))
    control = fitted_control(content, "controls/ab/abc.png", (48, 32))
    assert (control.png, control.name, control.size) == (content, "abc", (96, 64))


def test_a_control_image_of_another_shape_is_set_on_black_as_the_controlnet_saw_it() -> None:
    control = fitted_control(png(Image.new("RGB", (64, 64), "red")), "controls/ab/abc.png", (32, 64))
    picture = Image.open(io.BytesIO(control.png))
    assert (picture.size, control.name, control.drawn_size) == ((32, 64), "abc-32x64", (64, 64))
    assert picture.getpixel((16, 32)) == (255, 0, 0)
    assert picture.getpixel((16, 4)) == (0, 0, 0)


def test_a_ready_made_control_image_of_any_kind_becomes_an_rgb_png() -> None:
    content = io.BytesIO()
    Image.new("L", (64, 64), 200).save(content, "JPEG")
    control = fitted_control(content.getvalue(), "s3://theirs/edges.jpg", (64, 64))
    picture = Image.open(io.BytesIO(control.png))
    assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (64, 64))


PERSON = Person(body=tuple((0.5, n / 20, 0.9) if n else None for n in range(18)))


def test_keypoints_lie_where_the_fitted_control_image_shows_them() -> None:
    content = msgspec.json.encode(to_openpose_json(Pose(width=64, height=64, people=(PERSON,))))
    pose = placed(content, (64, 64), (32, 64)).pose
    neck = pose.people[0].body[BODY_KEYPOINTS.index("neck")]
    assert neck is not None
    assert (pose.width, pose.height) == (32, 64)
    assert neck[:2] == pytest.approx((0.5, (0.05 * 64 + 32) / 128))


def test_coco_annotations_hold_17_keypoints_in_pixels_and_their_box() -> None:
    (annotation,) = msgspec.json.decode(coco_text(Pose(width=100, height=200, people=(PERSON,))))
    assert len(annotation["keypoints"]) == 51
    assert annotation["num_keypoints"] == 16, "the nose was not found, and COCO has no neck"
    assert annotation["bbox"] == [50.0, 20.0, 0.0, 150.0]


def test_poses_are_compared_by_shape_and_not_by_place_or_size() -> None:
    small = Person(body=tuple((0.1 + n / 100, 0.1 + n % 3 / 100, 0.9) for n in range(18)))
    large = Person(body=tuple((0.2 + 3 * n / 100, 0.4 + 3 * (n % 3) / 100, 0.5) for n in range(18)))
    assert normalised(small, 100, 100) == normalised(large, 100, 100)
    assert normalised(Person(body=(None,) * 16 + ((0.1, 0.1, 0.9),) * 2), 9, 9) is None


def test_like_poses_fall_into_one_cluster() -> None:
    seen = PosesSeen()
    for number in range(40):
        sway = number % 5 / 500
        arms = 0.8 if number < 30 else 0.1
        body = [(0.5 + sway, n / 20, 0.9) for n in range(18)]
        body[4] = body[7] = (arms, 0.5, 0.9)
        seen.add(f"pose {number}", Pose(width=100, height=100, people=(Person(body=tuple(body)),)))
    found = map_poses(list(seen.kept.values()))
    assert map_poses(list(seen.kept.values())) == found
    assert len(set(found.members[:30]) & set(found.members[30:])) == 0
    assert sum(cluster.images for cluster in found.clusters) == 40
    assert pose_map_svg(found).count("<path") >= 2, "skeletons stand at its dots"
    assert pose_map_svg(found).count("<path") + pose_map_svg(found).count("<circle") == 40
    assert "<path" in cluster_svg(found.clusters[0], 0)


def test_of_many_poses_a_fixed_number_is_kept_and_the_rest_is_counted() -> None:
    seen = PosesSeen()
    for number in range(2 * MOST + 500):
        seen.add(str(number), Pose(width=100, height=100, people=(PERSON,)))
    assert MOST <= len(seen.kept) <= 2 * MOST
    assert seen.left_out + len(seen.kept) == 2 * MOST + 500


def test_statistics_of_parts_add_up_to_those_of_the_whole() -> None:
    rows = [
        {"split": "train", "people": n % 3, "width": 64, "height": 64, "text": f"text {n % 4}", "source": f"{n}.png",
         "safety": "safe", "detector": "d", "device": "cpu", "score": n / 10, "seed": n * 2**28, "seconds": 0.1 + n,
         "prompt_truncated": False, "near_duplicate_of": "" if n % 2 else "x"}
        for n in range(10)
    ]  # fmt: skip
    whole, first, second = Statistics(), Statistics(), Statistics()
    for number, row in enumerate(rows):
        for part in (whole, first if number < 4 else second):
            part.add(row, Pose(width=9, height=9, people=(PERSON,)), control=str(number), image_bytes=100)
    first.merge(second)
    assert msgspec.to_builtins(first) == msgspec.to_builtins(whole)
    assert (whole.samples, sum(whole.scores), whole.near_duplicates) == (10, 10, 5)
    assert msgspec.json.decode(msgspec.json.encode(whole), type=Statistics) == whole


def test_kinds_beyond_the_first_few_are_counted_together() -> None:
    counts: dict[str, int] = {}
    for number in range(MOST_KINDS + 50):
        count(counts, str(number))
    assert (len(counts), counts[OTHERS]) == (MOST_KINDS + 1, 50)


def test_a_plot_is_the_same_bytes_again_and_shows_a_dollar_as_it_is() -> None:
    statistics = Statistics(samples=2, prompts={"a $5 chef and $6": 2, "another": 1}, people={"1": 2})
    draw = shown(statistics, {"done": 2, "rejected unsafe": 1})["Prompts"]
    assert not isinstance(draw, str)
    picture = svg(draw, "Prompts")
    assert picture == svg(draw, "Prompts")
    assert "a $5 chef and $6" in picture
    assert "var(--bar)" in picture, "the page chooses colours, for light and dark"
    assert "#4c78a8" not in picture


def test_one_value_is_written_and_not_drawn() -> None:
    statistics = Statistics(samples=2, prompts={"a $5 chef": 2}, people={"1": 2})
    statistics.scores[17] = 2
    figures = shown(statistics, {"done": 2, "rejected unsafe": 1})
    assert figures == {
        "People per image": "1",
        "Mean pose score": "0.85 to 0.90",
        "Prompts": "a $5 chef",
        "Items that are not here, by reason": "rejected unsafe: 1",
    }
    assert Image.open(io.BytesIO(overview_png(statistics, {"done": 2}))).width > 500


def test_of_several_values_none_is_the_only_one() -> None:
    assert (only({}), only({"a": 3}), only({"a": 3, "b": 1})) == ("none", "a", None)
    assert (only_bin([0, 0], str), only_bin([0, 4], str), only_bin([1, 4], str)) == ("none", "1 to 2", None)


def test_seeds_are_not_counted_and_clocks_only_where_rows_have_them() -> None:
    assert "Seeds" not in shown(Statistics(), {})
    assert "Seconds of device time per image" not in shown(Statistics(), {})
    timed = Statistics()
    timed.seconds[3] = 1
    assert "Seconds of device time per image" in shown(timed, {})


def test_letters_that_no_font_here_has_are_drawn_without_a_word() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "<svg" in svg(lambda axes: axes.text(0, 0, "中文\r"), "厨房")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"shard_size": 0}, "shard"),
        ({"quality": 0}, "quality"),
        ({"validation": 0.6, "test": 0.6}, "shares"),
        ({"validation": float("nan")}, "shares"),
        ({"test": float("nan")}, "shares"),
        ({"validation": float("inf")}, "shares"),
        ({"where": "people ="}, "--where"),
    ],
)
def test_options_that_cannot_be_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Options(**wrong)


def test_without_the_extra_one_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagehash", None)
    with pytest.raises(BadInput, match=r"needs imagehash; install them with: pip install 'posemill\[export\]'"):
        require_extra("export", "export")


def test_a_thing_that_is_kept_is_read_once_and_a_failure_is_asked_again() -> None:
    kept: Kept[int] = Kept(2)
    reads: list[str] = []

    def read(name: str) -> int:
        reads.append(name)
        if name == "bad" and reads.count("bad") == 1:
            raise ValueError("not now")
        return len(reads)

    assert kept.get("a", lambda: read("a")) == kept.get("a", lambda: read("a"))
    with pytest.raises(ValueError, match="not now"):
        kept.get("bad", lambda: read("bad"))
    kept.get("bad", lambda: read("bad"))
    assert reads == ["a", "bad", "bad"]


def test_a_transparent_control_image_is_exported_as_the_controlnet_saw_it() -> None:
    transparent, opaque = (
        fitted_control((CASES / name).read_bytes(), f"s3://theirs/{name}", (128, 128))
        for name in ("transparent.png", "black.png")
    )
    first, second = (Image.open(io.BytesIO(control.png)) for control in (transparent, opaque))
    assert first.convert("RGB").tobytes() == second.convert("RGB").tobytes()


def test_a_source_s_split_is_the_same_in_every_version() -> None:
    found = {name: split_of(name, validation=0.3, test=0.3) for name in "abcdefgh"}
    assert found == {
        "a": "test",
        "b": "validation",
        "c": "test",
        "d": "validation",
        "e": "validation",
        "f": "test",
        "g": "train",
        "h": "test",
    }
