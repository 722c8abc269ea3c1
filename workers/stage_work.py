"""What a worker process of each stage works with."""

from collections.abc import Mapping
from typing import Any

from posemill.contract.keys import Stage
from posemill.contract.records import CheckSpec
from posemill.contract.specs import DetectSpec
from posemill.queue.ledger import Ledger
from posemill.settings import Settings
from posemill.storage.store import Store
from workers.batches.batch_work import BatchWork
from workers.batches.plan_reader import Slices
from workers.models.hub_models import HubModels
from workers.models.model_folders import ModelFolders


def make_stage_work(stage: Stage, store: Store, slices: Slices, settings: Settings, ledger: Ledger) -> BatchWork[Any]:
    """The stage's own part; only the libraries that it needs are imported."""
    return MAKERS[stage](store, slices, settings, ledger)


def _detect_work(store: Store, slices: Slices, settings: Settings, _: Ledger) -> BatchWork[Any]:
    from workers.detecting.detect_work import DetectWork
    from workers.detecting.detectors import Detector, load_detector
    from workers.models.placement import choose_device

    device, folders = choose_device(settings.device), ModelFolders.of(settings.model_folders)

    def load(spec: DetectSpec) -> Detector:
        return load_detector(spec, device=device, folders=folders)

    return DetectWork(store, slices, settings, load_detector=load, models=HubModels(store, folders))


def _generate_work(store: Store, slices: Slices, settings: Settings, ledger: Ledger) -> BatchWork[Any]:
    from workers.generating.fitting import FittingSizes
    from workers.generating.generate_work import GenerateWork
    from workers.generating.pipelines import Loader
    from workers.models.placement import choose_placement

    placement = choose_placement(settings)
    folders = ModelFolders.of(settings.model_folders)
    loader, models = Loader(placement, folders), HubModels(store, folders, half=placement.is_half)
    fitting = FittingSizes(ledger, card=placement.card)
    free_bytes = loader.free_bytes if loader.shares else None
    return GenerateWork(
        store, slices, settings, load_pipeline=loader.load, models=models, fitting=fitting, free_bytes=free_bytes
    )


def _judge_work(store: Store, slices: Slices, settings: Settings, _: Ledger) -> BatchWork[Any]:
    from workers.judging.check import Check, Models, load_check
    from workers.judging.judge_work import JudgeWork
    from workers.models.placement import choose_device

    folders = ModelFolders.of(settings.model_folders)
    device = choose_device(settings.device)

    def load(spec: CheckSpec, commits: Mapping[str, str]) -> Check:
        return load_check(spec.check, spec.options, Models(device=device, folders=folders, commits=commits))

    return JudgeWork(store, slices, load_check=load, models=HubModels(store, folders))


MAKERS = {Stage.DETECT: _detect_work, Stage.GENERATE: _generate_work, Stage.VERIFY: _judge_work}
