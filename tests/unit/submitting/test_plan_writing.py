"""A plan is written shard by shard behind the planner; its seal comes last, and only when all the rest stands."""

import json
from hashlib import sha256 as hashed
from pathlib import Path

import pytest

from posemill.contract.identity import sha256
from posemill.contract.keys import RunKeys
from posemill.contract.records import StoredObject
from posemill.errors import RecipeError, RowError, TransientError
from posemill.settings import Settings
from producer.recipes.recipe import parse_recipe
from producer.sources.scanning import SkippedTally
from producer.submitting import submission
from tests.planned import make_run
from tests.small_pictures import picture

RUN = make_run("r")
KEYS = RunKeys(RUN.id)


class MemoryStore:
    """Keeps what it is given, in the order in which it came; keys that hold `refuses` are not taken."""

    url = "memory://"

    def __init__(self, refuses: str = "nothing at all") -> None:
        self.objects: dict[str, bytes] = {}
        self._refuses = refuses

    def head(self, key):
        return None

    def put(self, key, content, *, content_type=""):
        if self._refuses in key:
            raise TransientError(f"{key}: storage cannot answer")
        self.objects[key] = content
        return StoredObject(key=key, sha256=sha256(content), etag="", size=len(content))

    def put_if_absent(self, key, content, *, content_type=""):
        return self.put(key, content), True


def write_plan(
    folder: Path, rows: list, *, store: MemoryStore | None = None, strict: bool = False, content: bytes = b""
) -> MemoryStore:
    store = store or MemoryStore()
    manifest = folder / "m.jsonl"
    lines = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)
    manifest.write_bytes(content or lines.encode())
    recipe = parse_recipe({
        "sources": str(manifest), "prompts": ["in {room}", "plain"], "matrix": {"room": ["hall", "yard"]}, "seeds": 2,
    })  # fmt: skip
    skipped = SkippedTally()
    found = submission.rows_of(recipe, folder, store, Settings(), skipped)
    submission._write_plan(store, recipe, RUN, found, skipped, strict=strict, progress=None)
    return store


def pictures(number: int) -> list[dict]:
    return [{"source": f"s3://bucket/{picture}.jpg", "prompt": "p"} for picture in range(number)]


def test_the_seal_is_written_after_everything_else(tmp_path):
    written = list(write_plan(tmp_path, [*pictures(50), "{broken"]).objects)
    assert written[-1] == KEYS.sealed
    assert written[0] == KEYS.run
    assert len(written) == 1 + 13 + 25 + 1 + 1, (
        "the run, shards of four sources and of four items, refused rows, the seal"
    )


@pytest.mark.parametrize("refuses", ["plan/detect/000000", "plan/generate/000011", "plan/refused"])
def test_a_plan_that_storage_did_not_take_whole_is_not_sealed(tmp_path, refuses):
    store = MemoryStore(refuses)
    with pytest.raises(TransientError, match=refuses):
        write_plan(tmp_path, [*pictures(50), "{broken"], store=store)
    assert KEYS.sealed not in store.objects


def test_a_run_whose_first_rows_end_in_an_error_of_the_file_is_not_written(tmp_path):
    store = MemoryStore()
    with pytest.raises(RecipeError, match="UTF-16"):
        write_plan(tmp_path, [], store=store, content=b"\xff\xfe{\0}\0\n\0\x00\xd8")
    assert not store.objects


def test_a_plan_that_strict_refused_is_not_sealed(tmp_path):
    store = MemoryStore()
    with pytest.raises(RowError, match=r"m\.jsonl:51"):
        write_plan(tmp_path, [*pictures(50), "{broken"], store=store, strict=True)
    assert KEYS.sealed not in store.objects


def test_rows_that_name_the_same_unreadable_file_are_refused_each_in_its_place(tmp_path):
    store = write_plan(tmp_path, [{"source": "no.png"}, *pictures(1), {"source": "no.png"}])
    refused = [json.loads(line) for line in store.objects[KEYS.refused(0)].splitlines()]
    assert [row["place"] for row in refused] == ["m.jsonl:1", "m.jsonl:3"]
    assert [row["message"].partition(": ")[0] for row in refused] == ["m.jsonl:1", "m.jsonl:3"]


def test_the_plan_of_the_same_rows_never_changes(tmp_path):
    """A submission that an older posemill began must go on to the same shards."""
    (tmp_path / "a.png").write_bytes(picture())
    store = write_plan(tmp_path, [
        {"source": "a.png", "room": "attic"}, {"source": "s3://b/é.jpg", "prompt": "a {brace}", "negative_prompt": "n"},
        {"source": "s3://b/c.jpg", "seed": 7}, {"source": "a.png", "seed": 3, "room": "x"}, "{broken",
        {"source": "a.png", "seed": 3, "room": "x"}, {"control_image": "s3://b/k.png", "seed": "12", "room": None},
        {"pose": {"people": [], "canvas_width": 64, "canvas_height": 64}, "n": 1.5},
        {"control_image": "a.png", "prompt": "q"},
    ])  # fmt: skip
    shards = [key for key in sorted(store.objects) if "/plan/detect/" in key or "/plan/generate/" in key]
    plan = b"".join(store.objects[key] for key in shards)
    assert hashed(plan).hexdigest() == "e4fde421f3da1a86205cd09c42103ac0906640c06cbc68b37b9678067595004b"
