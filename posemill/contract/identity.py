"""Content digests: what makes two control images, two items or two recipes the same."""

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from posemill.contract.specs import DetectSpec, GenerateSpec

DRAWING = 1  # raise when the drawing of poses changes, so that old control images are not taken for new ones
_canonical = msgspec.json.Encoder(order="deterministic")


def sha256(content: bytes) -> str:
    """The digest of some bytes, as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def digest(*parts: Any) -> str:
    """32 hexadecimal digits over the canonical JSON of the parts; settings with their default value are left out."""
    return hashlib.sha256(_canonical.encode([_given(part) for part in parts])).hexdigest()[:32]


def _given(value: Any) -> Any:
    """A specification as its settings that differ from their defaults: equal ones are equal texts, however made."""
    if isinstance(value, msgspec.Struct):
        fields = ((field, getattr(value, field.name)) for field in msgspec.structs.fields(value))
        return {field.name: _given(found) for field, found in fields if found != field.default}
    return [_given(each) for each in value] if isinstance(value, list | tuple) else value


def control_digest(source_sha256: str, spec: DetectSpec) -> str:
    """Identity of a control image: the source's bytes and all that shapes the drawing."""
    return digest("control", DRAWING, source_sha256, _identifying(spec))


def picture_digest(detects: Sequence[DetectSpec], generate: GenerateSpec) -> str:
    """The part of an item's identity that all items of a run share; `model` is only a name for people."""
    shared = msgspec.structs.replace(generate, model="", base_config_revision=None)
    return digest("picture", DRAWING, [_identifying(spec) for spec in detects], shared)


def _identifying(spec: DetectSpec) -> DetectSpec:
    """Without what came into specifications later, and would give every old control image another name."""
    return msgspec.structs.replace(spec, face_revision=None)


def item_digest(shared: str, source: str, prompt: str, negative_prompt: str, seed: int) -> str:
    """Identity of an item; `shared` is the run's picture_digest, `source` the source's identity."""
    content = _canonical.encode((shared, source, prompt, negative_prompt, seed))
    return hashlib.sha256(content).hexdigest()[:32]


def derived_seed(base: int, source: str, prompt: str, index: int) -> int:
    """A seed of 32 bits for the index-th image of a source and a prompt: repeatable, yet different for each."""
    content = _canonical.encode((base, source, prompt, index))
    return int.from_bytes(hashlib.sha256(content).digest()[:4], "big")
