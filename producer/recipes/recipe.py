"""The recipe: what a user writes, validated at the door."""

from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from posemill.catalogue.models import MODELS, SchedulerName
from posemill.errors import RecipeError
from producer.recipes.control_recipe import (
    QUEUE,
    ControlRecipe,
    DetectorSettings,
    DetectRecipe,
    Part,
    require_steps,
    takes_text_alone,
)
from producer.recipes.verify_recipe import CheckRecipe, VerifyRecipe
from producer.recipes.yaml_values import LIMIT_BYTES, TOO_LARGE, read_yaml
from producer.sources.plain_values import LIMIT_DEPTH, plain_values, printable

Scalar = str | int | float | bool
NETWORK_SETTINGS = {
    "controlnet", "controlnet_revision", "controlnet_conditioning_scale", "control_guidance_start",
    "control_guidance_end",
}  # fmt: skip
NO_TEXT = ("string_type", "list_type", "int_type", "float_type", "bool_type")  # pydantic's words
UNION_BRANCHES = ("str", "int", "float", "bool", "list[int]")  # what pydantic adds to a place, for programmers


class LoraRecipe(Part):
    """A LoRA adapter; one that is written as its address alone has weight 1."""

    lora: str
    revision: str | None = None
    weight: float = Field(default=1.0, ge=-10, le=10)
    file: str | None = None


class GenerateRecipe(Part):
    """How pictures are made; what is not given comes from the model's table row."""

    model: str | None = None
    base: str | None = None
    base_revision: str | None = None
    base_config: str | None = None
    controlnet: str | None = None
    controlnet_revision: str | None = None
    vae: str | None = None
    vae_revision: str | None = None
    loras: list[LoraRecipe] = Field(default=[], max_length=16)
    scheduler: SchedulerName | None = None
    num_inference_steps: int | None = Field(default=None, ge=1, le=1000)
    guidance_scale: float | None = Field(default=None, ge=0, le=100)
    controlnet_conditioning_scale: float = Field(default=1.0, ge=0, le=10)
    control_guidance_start: float = Field(default=0.0, ge=0, le=1)
    control_guidance_end: float = Field(default=1.0, ge=0, le=1)
    negative_prompt: str = ""
    width: int | None = Field(default=None, ge=64, le=4096, multiple_of=8)
    height: int | None = Field(default=None, ge=64, le=4096, multiple_of=8)
    resolution: int | None = Field(default=None, ge=64, le=4096, multiple_of=8)
    variant: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_-]{1,64}$")
    allow_pickle: bool = False
    safety_checker: bool = False
    long_prompts: Literal["truncate", "chunk"] = "truncate"
    image_format: Literal["png", "webp"] = "png"
    batch_size: int = Field(default=8, ge=1, le=256)
    queue: str | None = Field(default=None, pattern=QUEUE)

    @field_validator("model")
    @classmethod
    def _is_named(cls, model: str | None) -> str | None:
        if model is not None and model not in MODELS:
            raise ValueError(f"no model is named {model!r}; there are {', '.join(MODELS)}, or give base and controlnet")
        return model

    @field_validator("loras", mode="before")
    @classmethod
    def _addresses_alone(cls, loras: Any) -> Any:
        if not isinstance(loras, list):
            return loras
        return [{"lora": lora} if isinstance(lora, str) else lora for lora in loras]

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.model is None and not self.base:
            raise ValueError("give a named model, or both base and controlnet")
        require_steps(self.control_guidance_start, self.control_guidance_end)
        if (self.width is None) != (self.height is None):
            raise ValueError("give width and height together, or neither")
        return self


class Recipe(Part):
    """One data set wanted."""

    name: str = Field(default="run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    sources: str = Field(pattern=r"\S")  # nothing would be the recipe's own folder
    prompts: list[str] = Field(default=[])
    matrix: dict[str, Annotated[list[Scalar], Field(min_length=1)]] = Field(default={})
    seeds: int | list[int] = 1
    priority: Literal["low", "normal", "high"] = "normal"
    seed: int = Field(default=0, ge=0, lt=2**63)  # where seeds given as a number of images begin
    detect: DetectRecipe = DetectRecipe()
    generate: GenerateRecipe = GenerateRecipe(model="sd15-openpose")
    controls: list[ControlRecipe] = Field(
        default=[], max_length=8
    )  # several control images at once, or one with its own ControlNet
    verify: VerifyRecipe | None = None  # nothing: images are not judged

    @model_validator(mode="after")
    def _controls_stand_alone(self) -> Self:
        """What `controls` says of each control must not be said again for all."""
        if not self.controls:
            if self.generate.model is None and not self.generate.controlnet:
                raise ValueError("generate: give a named model, or both base and controlnet")
            return self
        twice = sorted(self.detect.model_fields_set & set(DetectorSettings.model_fields))
        twice += sorted(self.generate.model_fields_set & NETWORK_SETTINGS)
        if twice:
            raise ValueError(f"with controls, each control has its own {', '.join(twice)}")
        if len(self.controls) > 1 and any(control.detector == "keypoints" for control in self.controls):
            raise ValueError("controls: pose files are no pictures, so `keypoints` stands alone")
        return self

    @field_validator("prompts", mode="before")
    @classmethod
    def _one_or_many(cls, prompts: Any) -> Any:
        return [prompts] if isinstance(prompts, str) else prompts

    @field_validator("matrix", mode="before")
    @classmethod
    def _values_are_lists(cls, matrix: Any) -> Any:
        if not isinstance(matrix, dict):
            return matrix
        return {name: values if isinstance(values, list) else [values] for name, values in matrix.items()}

    @field_validator("seeds")
    @classmethod
    def _seeds_are_seeds(cls, seeds: int | list[int]) -> int | list[int]:
        if isinstance(seeds, int) and not 1 <= seeds <= 100_000:
            raise ValueError("the number of images for each source and prompt lies between 1 and 100000")
        if isinstance(seeds, list) and (not seeds or min(seeds) < 0 or max(seeds) >= 2**63):
            raise ValueError("a list of seeds holds at least one, each from 0 to 2**63 - 1")
        return seeds


SECTIONS: dict[str, type[Part]] = {
    "": Recipe, "detect": DetectRecipe, "generate": GenerateRecipe, "controls": ControlRecipe, "loras": LoraRecipe,
    "verify": VerifyRecipe, "checks": CheckRecipe,
}  # fmt: skip
WORDS = frozenset(("prompts", "matrix"))  # below these everything is a text
TEXTS = frozenset(
    name
    for section in SECTIONS.values()
    for name, field in section.model_fields.items()
    if takes_text_alone(field.annotation)
)


NO_SECTION = frozenset(("model_type", "model_attributes_type"))  # pydantic's words for what is no mapping


def read_recipe(recipe: str | Path | dict[str, Any], overrides: tuple[str, ...] = ()) -> dict[str, Any]:
    """The recipe as plain values: from a YAML file or a mapping, `key=value` overrides applied.

    Raises RecipeError.
    """
    values = recipe if isinstance(recipe, dict) else _read_file(Path(recipe))
    for override in overrides:
        values = _with_override(values, override)
    plain: dict[str, Any] = plain_values(values, "recipe" if isinstance(recipe, dict) else str(recipe))
    return plain


def recipe_folder(recipe: str | Path | dict[str, Any]) -> Path:
    """Where a relative `sources` path begins: the recipe file's folder, or the current one for a mapping."""
    return Path.cwd() if isinstance(recipe, dict) else Path(recipe).resolve().parent


def parse_recipe(values: dict[str, Any], *, where: str = "recipe") -> Recipe:
    """Raises RecipeError that names every wrong key."""
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise RecipeError(f"{where}: {_in_words(error)}") from error


def parse_verify(values: dict[str, Any]) -> VerifyRecipe:
    """A `verify` section by itself. Raises RecipeError that names every wrong key."""
    try:
        return VerifyRecipe.model_validate(values)
    except ValidationError as error:
        raise RecipeError(f"verify: {_in_words(error)}") from error


def _read_file(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(LIMIT_BYTES + 1)
    except (OSError, ValueError) as error:
        raise RecipeError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if len(content) > LIMIT_BYTES:  # what was read may end in the middle of a prompt
        raise RecipeError(f"{path}: {TOO_LARGE}")
    try:
        text = content.decode("utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: not YAML: byte {error.start} is not {error.encoding}") from error
    values = read_yaml(text, where=str(path), texts=TEXTS, words=WORDS)
    if not isinstance(values, dict):
        raise RecipeError(f"{path}: a recipe is a mapping with keys such as sources and prompts")
    return values


def _with_override(values: dict[str, Any], override: str) -> dict[str, Any]:
    """A copy with one dotted key set; the value is read as YAML."""
    path, equals, text = override.partition("=")
    where = f"--set {printable(override)}"
    keys = path.split(".")
    if not equals or not all(keys):
        raise RecipeError(f"{where}: write it as key=value, e.g. generate.guidance_scale=5")
    if len(keys) > LIMIT_DEPTH:
        raise RecipeError(f"{where}: no key of a recipe lies so deep")
    value = read_yaml(text, where=where, texts=TEXTS, words=WORDS, under=keys)
    return _with(values, keys, value, where)


def _with(values: dict[str, Any], keys: list[str], value: Any, where: str) -> dict[str, Any]:
    first, *rest = keys
    if not rest:
        return values | {first: value}
    inner = values.get(first) or {}
    if not isinstance(inner, dict):
        raise RecipeError(f"{where}: {first} is not a section of the recipe")
    return values | {first: _with(inner, rest, value, where)}


def _in_words(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        unknown = problem["type"] == "extra_forbidden"  # what a user wrote, be it the name of a type
        keys = [part for part in problem["loc"] if unknown or part not in UNION_BRANCHES]
        place = printable(".".join(str(part) for part in keys))
        message = problem["msg"].removeprefix("Value error, ")
        if unknown:
            message = f"unknown key{_meant(keys)}; docs/recipes.md lists all keys"
        elif problem["type"] in NO_SECTION:
            section = SECTIONS.get(next((str(key) for key in reversed(keys) if isinstance(key, str)), ""), Recipe)
            message = f"this is a section with keys of its own, such as {', '.join(list(section.model_fields)[:3])}"
        elif keys and keys[0] in WORDS and problem["type"] in NO_TEXT and isinstance(problem["input"], dict | list):
            message = "put the prompt in quotes: without them YAML reads {braces}, [brackets] and a colon as its own"
            message = message if keys[0] == "prompts" else message.replace("prompt", "value", 1)
        lines.append(f"{place}: {message}" if place else message)
    return "; ".join(dict.fromkeys(lines))


def _meant(keys: list[Any]) -> str:
    """What an unknown key was probably to be: one of its section that is spelt alike, or one of another section."""
    *above, name = [str(key) for key in keys if isinstance(key, str)]
    section = next((key for key in reversed(above) if key in SECTIONS), "")
    fields = SECTIONS[section].model_fields
    part = [field for field in fields if len(name) > 3 and name in field]
    if close := get_close_matches(name, fields, n=1, cutoff=0.7) or part:
        return f"; did you mean {close[0]}?"
    home = next((home for home, section in SECTIONS.items() if name in section.model_fields), None)
    if home is None:
        return ""
    return f"; did you mean {home}.{name}?" if home else f"; did you mean {name}, outside of {section}?"
