"""What a run needs of the Hub: the repositories behind its specifications, and the files of each."""

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum

import msgspec

from posemill.catalogue.checks import CHECKS
from posemill.catalogue.detectors import ANNOTATORS, CARD_FOLDER, CARD_WEIGHTS, DETECTORS, FACE
from posemill.catalogue.pairing import SINGLE_FILE
from posemill.contract.records import CheckSpec, VerifySpec
from posemill.contract.specs import DetectSpec, GenerateSpec
from posemill.hub.choosing import FULL

CommitOf = Callable[[str, str | None], str | None]
"""The commit, or content digest, of a model at a revision."""


class Layout(StrEnum):
    """How a repository is laid out, which decides what of it is fetched."""

    PIPELINE = "pipeline"  # parts in folders, and an index of them
    NETWORK = "network"  # one network in the root
    CONFIGURATIONS = "configurations"  # of a pipeline, without its weights
    ADAPTER = "adapter"  # one LoRA
    FILES = "files"  # by their names


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """One repository, folder or file that a stage needs."""

    model: str
    revision: str | None
    layout: Layout
    files: tuple[str, ...] = ()  # of FILES; of ADAPTER the one that the recipe names
    without: tuple[str, ...] = ()  # parts of a PIPELINE that are not loaded
    variant: str | None = None
    allow_pickle: bool = False


def needs_of_generate(spec: GenerateSpec) -> Iterator[Need]:
    """The base, or what stands in for it, the ControlNets, the VAE and the adapters."""
    if not spec.base.endswith(SINGLE_FILE):
        yield Need(
            model=spec.base, revision=spec.base_revision, layout=Layout.PIPELINE, without=parts_left_out(spec),
            variant=spec.variant, allow_pickle=spec.allow_pickle,
        )  # fmt: skip
    elif spec.base_config:
        yield Need(model=spec.base_config, revision=spec.base_config_revision, layout=Layout.CONFIGURATIONS)
    for net in spec.controlnets:
        yield network_need(net.controlnet, net.controlnet_revision, spec)
    if spec.vae:
        yield network_need(spec.vae, spec.vae_revision, spec)
    for lora in spec.loras:
        files = (lora.file,) if lora.file else ()
        yield Need(model=lora.lora, revision=lora.revision, layout=Layout.ADAPTER, files=files)


def network_need(model: str, revision: str | None, spec: GenerateSpec) -> Need:
    """A ControlNet or VAE. A variant that the recipe names is the base's; that there be none is said of all."""
    variant = spec.variant if spec.variant == FULL else None
    return Need(model=model, revision=revision, layout=Layout.NETWORK, variant=variant, allow_pickle=spec.allow_pickle)


def parts_left_out(spec: GenerateSpec) -> tuple[str, ...]:
    """Parts of the base that the specification does without, or takes from elsewhere."""
    return ("controlnet", *(() if spec.safety_checker else ("safety_checker",)), *(("vae",) if spec.vae else ()))


def needs_of_detect(spec: DetectSpec) -> Iterator[Need]:
    """A detector's weights; those of OpenPose lie in two repositories."""
    row = DETECTORS[spec.detector]
    weights = spec.weights or row.weights
    if not row.takes_weights or not weights:
        return
    if not row.files:
        yield Need(model=weights, revision=spec.revision, layout=Layout.NETWORK, allow_pickle=True)
        return
    card = weights == CARD_WEIGHTS
    files = tuple(f"{CARD_FOLDER}{name}" if card else name for name in row.files if not (card and name == FACE))
    yield Need(model=weights, revision=spec.revision, layout=Layout.FILES, files=files)
    if has_face_elsewhere(spec):
        yield Need(model=ANNOTATORS, revision=spec.face_revision, layout=Layout.FILES, files=(FACE,))


def needs_of_verify(verify: VerifySpec) -> Iterator[Need]:
    """What the checks look with: networks of their own, and detectors."""
    for check in verify.checks:
        yield from needs_of_check(check, verify.commits)


def needs_of_check(check: CheckSpec, commits: Mapping[str, str]) -> Iterator[Need]:
    """A check's network, or its detector's weights, at these commits; nothing of other distributions' checks."""
    row = CHECKS.get(check.check)
    if row is None:
        return
    if row.has_model:
        model, given = str(check.options["model"]), check.options["revision"]
        revision = commits.get(model, str(given) if given else None)
        yield Need(model=model, revision=revision, layout=Layout.NETWORK, allow_pickle=True)
    if check.options.get("detector") in DETECTORS:
        yield from needs_of_detect(looking_spec(str(check.options["detector"]), commits))


def looking_spec(detector: str, commits: Mapping[str, str]) -> DetectSpec:
    """How a detector is asked that looks at finished images: with its own weights and settings."""
    weights = DETECTORS[detector].weights
    return DetectSpec(
        detector=detector,
        weights=weights,
        revision=commits.get(weights) if weights else None,
        face_revision=commits.get(ANNOTATORS),
    )


def has_face_elsewhere(spec: DetectSpec) -> bool:
    """Whether a file of the detector lies in another repository than its weights."""
    row = DETECTORS[spec.detector]
    return FACE in row.files and (spec.weights or row.weights) == CARD_WEIGHTS


def detect_at_commits(spec: DetectSpec, commit_of: CommitOf) -> DetectSpec:
    """The specification with a commit for each repository."""
    row = DETECTORS[spec.detector]
    weights = spec.weights or row.weights
    if not row.takes_weights or not weights:
        return spec
    face = commit_of(ANNOTATORS, spec.face_revision) if has_face_elsewhere(spec) else None
    return msgspec.structs.replace(spec, revision=commit_of(weights, spec.revision), face_revision=face)


def generate_at_commits(spec: GenerateSpec, commit_of: CommitOf) -> GenerateSpec:
    """The specification with a commit for each repository."""

    def at(model: str | None, revision: str | None) -> str | None:
        return commit_of(model, revision) if model else None

    nets = (
        msgspec.structs.replace(net, controlnet_revision=at(net.controlnet, net.controlnet_revision))
        for net in spec.controlnets
    )
    return msgspec.structs.replace(
        spec,
        base_revision=at(spec.base, spec.base_revision),
        controlnets=tuple(nets),
        vae_revision=at(spec.vae, spec.vae_revision),
        base_config_revision=at(spec.base_config, spec.base_config_revision),
        loras=tuple(msgspec.structs.replace(lora, revision=at(lora.lora, lora.revision)) for lora in spec.loras),
    )


def verify_at_commits(verify: VerifySpec, commit_of: CommitOf) -> VerifySpec:
    """The specification with a commit for each model that a check loads."""
    found = {need.model: commit_of(need.model, need.revision) for need in needs_of_verify(verify)}
    commits = {model: commit for model, commit in found.items() if commit}
    return msgspec.structs.replace(verify, commits=commits) if commits else verify
