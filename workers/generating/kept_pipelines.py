"""The pipelines that a worker keeps in memory: as many as fit, the one that waited longest leaves first."""

import logging
from collections import OrderedDict
from collections.abc import Callable

from posemill.contract.specs import GenerateSpec
from workers.generating.pipeline_calls import Pipeline

log = logging.getLogger(__name__)

BATCHES_TAKE = 2  # room for so many times the largest model must be free: for the next one, and what its batches take


class KeptPipelines:
    """Pipelines by specification; to be used by one thread at a time."""

    def __init__(
        self, load: Callable[[GenerateSpec], Pipeline], *, free_bytes: Callable[[], int] | None = None
    ) -> None:
        """`free_bytes`: of the device's memory, measured now; None: one pipeline is kept, whatever its size."""
        self._load = load
        self._free_bytes = free_bytes
        self._kept: OrderedDict[GenerateSpec, Pipeline] = OrderedDict()
        self._largest_bytes = 0

    @property
    def names(self) -> list[str]:
        """The models by the names that recipes use, the last used one last."""
        return list(dict.fromkeys(spec.model for spec in list(self._kept)))

    def get(self, spec: GenerateSpec) -> Pipeline | None:
        """The pipeline if it is in memory."""
        return self._kept.get(spec)

    def of(self, spec: GenerateSpec) -> Pipeline:
        """The pipeline, loaded if it is not in memory. Raises RunFault when it cannot be."""
        if spec not in self._kept:
            while self._kept and not self._has_room():
                self._drop_oldest()
            self._kept[spec] = self._measured(spec)
            log.info("%d pipelines are in memory: %s", len(self._kept), ", ".join(self.names))
        self._kept.move_to_end(spec)
        return self._kept[spec]

    def drop_others(self, spec: GenerateSpec) -> bool:
        """Make room for a batch that did not fit; False when there is nothing to drop."""
        others = [other for other in self._kept if other != spec]
        for other in others:
            del self._kept[other]
        if others:
            log.warning("Memory is short: %d other pipelines are dropped", len(others))
            self._free()
        return bool(others)

    def clear(self) -> None:
        """Let go of every pipeline."""
        self._kept.clear()
        self._free()

    def _has_room(self) -> bool:
        return self._free_bytes is not None and self._free_bytes() >= BATCHES_TAKE * self._largest_bytes

    def _drop_oldest(self) -> None:
        spec, _ = self._kept.popitem(last=False)
        log.info("The pipeline of %s leaves memory", spec.model)

    def _measured(self, spec: GenerateSpec) -> Pipeline:
        before = self._free()
        pipeline = self._load(spec)
        self._largest_bytes = max(self._largest_bytes, before - self._free())
        return pipeline

    def _free(self) -> int:
        return self._free_bytes() if self._free_bytes else 0
