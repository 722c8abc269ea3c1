"""Which files of a model are loaded, by their names alone: nothing else is fetched, and no file has two readings."""

import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any

from posemill.errors import RunFault

WEIGHTS = re.compile(
    r"(?P<stem>diffusion_pytorch_model|pytorch_model|model)(\.(?P<variant>[\w-]+?))?"
    r"(-(?P<number>\d{5})-of-(?P<count>\d{5}))?(\.(?P<late>\w+))?\.(?P<form>safetensors|bin)"
)
INDEX = re.compile(r"\w+(\.(?P<early>[\w-]+?))?\.(?P<form>safetensors|bin)\.index(\.(?P<late>[\w-]+))?\.json")
TEXTS = (".json", ".txt", ".model", ".jinja")  # configurations, tokenizers, vocabularies
OF_NO_WEIGHTS = ("Tokenizer", "TokenizerFast", "Scheduler", "Processor", "ProcessorFast", "Extractor", "ExtractorFast")
STEMS = {"safetensors": ("diffusion_pytorch_model", "model"), "bin": ("diffusion_pytorch_model", "pytorch_model")}
HALF = "fp16"  # the variant that repositories have for half precision
FULL = "full"  # what a recipe says for the files that are no variant
MODEL_INDEX = "model_index.json"  # of a base: its parts and their classes
ADAPTER = "pytorch_lora_weights.safetensors"  # as diffusers and peft name it


class Form(StrEnum):
    """How a file holds weights."""

    SAFETENSORS = "safetensors"
    PICKLE = "bin"


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What is wanted of a model that comes in several forms."""

    half: bool = False  # the networks run in float16 or bfloat16
    variant: str | None = None  # None: chosen by `half`; FULL: none
    allow_pickle: bool = False

    @property
    def variants(self) -> list[str | None]:
        """In the order in which they are looked for."""
        if self.variant:
            return [None] if self.variant == FULL else [self.variant, None]
        return [HALF, None] if self.half else [None, HALF]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The files that are loaded, by their names in the repository or folder."""

    files: tuple[str, ...]
    variant: str | None = None  # of those of its weights that have it
    pickled: tuple[str, ...] = ()  # those of its files that are pickles


@dataclass(frozen=True)
class _Weights:
    files: tuple[str, ...]
    variant: str | None
    form: Form


def choose_pipeline(
    model: str, files: Collection[str], index: Mapping[str, Any], wishes: Wishes, without: Collection[str] = ()
) -> Choice:
    """A base in diffusers' layout: for each part that its index names, configuration and weights in one form.

    `without`: parts that are not loaded. Raises RunFault for a part without weights that may be loaded.
    """
    parts = {
        name: str(value[1])
        for name, value in index.items()
        if isinstance(value, list) and len(value) == 2 and value[1] and name not in without
    }
    chosen, found = [MODEL_INDEX], list[_Weights]()
    for part, kind in parts.items():
        inside = [name for name in files if PurePosixPath(name).parts[:-1] == (part,)]
        chosen += _texts(inside)
        if not kind.endswith(OF_NO_WEIGHTS):
            found.append(_weights(model, f"{part}/", inside, wishes))
    return _choice(model, chosen, found, files, wishes)


def choose_network(model: str, files: Collection[str], wishes: Wishes) -> Choice:
    """A network that lies in a repository's or folder's root, as ControlNets and VAEs do. Raises RunFault."""
    inside = [name for name in files if "/" not in name]
    return _choice(model, _texts(inside), [_weights(model, "", inside, wishes)], files, wishes)


def choose_configurations(files: Collection[str]) -> Choice:
    """All but weights: what a single file needs beside it."""
    return Choice(files=tuple(_texts(files)))


def choose_adapter(model: str, files: Collection[str], file: str | None) -> Choice:
    """A LoRA adapter's one file. Raises RunFault when it is not there, or several might be meant."""
    inside = [name for name in files if "/" not in name and name.endswith(".safetensors")]
    if file:
        return choose_named(model, files, [file])
    if ADAPTER in inside:
        return Choice(files=(ADAPTER,))
    if len(inside) == 1:
        return Choice(files=tuple(inside))
    there = ", ".join(sorted(inside)) or "none"
    raise RunFault(f"{model} must have one .safetensors file to be taken for an adapter ({there}); name it by `file:`")


def choose_named(model: str, files: Collection[str], wanted: Collection[str]) -> Choice:
    """Files by their names. Raises RunFault for one that is not there."""
    for name in wanted:
        if name not in files:
            raise RunFault(f"{model} has no file {name}")
    return Choice(files=tuple(wanted))


def _choice(model: str, texts: list[str], found: list[_Weights], files: Collection[str], wishes: Wishes) -> Choice:
    variants = {weights.variant for weights in found}
    if wishes.variant not in (None, FULL) and wishes.variant not in variants:
        there = ", ".join(sorted(_variants(files))) or "none"
        raise RunFault(
            f"{model} has no variant {wishes.variant!r} as {Form.SAFETENSORS} (there are: {there});"
            f" leave `variant` out, or say {FULL}"
        )
    return Choice(
        files=tuple(dict.fromkeys([*texts, *(name for weights in found for name in weights.files)])),
        variant=next((variant for variant in variants if variant), None),
        pickled=tuple(name for weights in found if weights.form is Form.PICKLE for name in weights.files),
    )


def _weights(model: str, part: str, inside: Collection[str], wishes: Wishes) -> _Weights:
    """A part's weights in the best form that there is and that is allowed."""
    forms = [Form.SAFETENSORS, Form.PICKLE] if wishes.allow_pickle else [Form.SAFETENSORS]
    for form in forms:
        for variant in wishes.variants:
            if files := _complete(inside, form, variant):
                return _Weights(files, variant, form)
    pickles = sorted(name for name in inside if (found := WEIGHTS.fullmatch(_base(name))) and found["form"] == "bin")
    where = f"{model} has no safetensors weights{f' in {part}' if part else ''}"
    if pickles:
        raise RunFault(
            f"{where}, but a pickle ({_base(pickles[0])}), which could run code where it is loaded: take a repository"
            " that has safetensors, or set generate.allow_pickle: true (it is read with weights_only)"
        )
    raise RunFault(f"{where}, and no others: is it a model in diffusers' layout?")


def _complete(inside: Collection[str], form: Form, variant: str | None) -> tuple[str, ...]:
    """The file of that form, or all parts of it with their index; nothing when any is missing."""
    whole, parts = list[str](), defaultdict[str, dict[int, str]](dict)
    counts = dict[str, int]()
    for name in sorted(inside):
        found = WEIGHTS.fullmatch(_base(name))
        if not found or found["form"] != form or found["stem"] not in STEMS[form]:
            continue
        if (found["variant"] or found["late"]) != variant:
            continue
        if found["number"]:
            parts[found["stem"]][int(found["number"])] = name
            counts[found["stem"]] = int(found["count"])
        else:
            whole.append(name)
    if whole:
        return (whole[0],)
    for stem, numbered in parts.items():
        indexes = [name for name in sorted(inside) if _base(name).startswith(stem) and _is_index(name, form, variant)]
        if len(numbered) == counts[stem] and indexes:
            return (*numbered.values(), *indexes)
    return ()


def _is_index(name: str, form: Form, variant: str | None) -> bool:
    found = INDEX.fullmatch(_base(name))
    return bool(found) and found["form"] == form and (found["early"] or found["late"]) == variant  # type: ignore[index]


def _texts(names: Collection[str]) -> list[str]:
    return [name for name in sorted(names) if name.endswith(TEXTS) and not INDEX.fullmatch(_base(name))]


def _variants(files: Collection[str]) -> set[str]:
    matches = [WEIGHTS.fullmatch(_base(name)) for name in files]
    found = [match["variant"] or match["late"] for match in matches if match and match["form"] == Form.SAFETENSORS]
    return {variant for variant in found if variant}


def _base(name: str) -> str:
    return name.rpartition("/")[2]
