"""A worker keeps as many pipelines as fit, and drops the one that waited longest."""

from weakref import WeakSet

from posemill.contract.specs import ControlNetSpec, GenerateSpec
from workers.generating.kept_pipelines import KeptPipelines


def spec(name: str) -> GenerateSpec:
    return GenerateSpec(model=name, base="b", controlnets=(ControlNetSpec(controlnet=name),))


class Model:
    """Takes ten of a device's memory for as long as somebody holds it."""


class Device:
    """Memory of a size, and what was loaded into it."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.loaded: list[str] = []
        self._alive: WeakSet[Model] = WeakSet()

    def load(self, wanted: GenerateSpec) -> Model:
        model = Model()
        self.loaded.append(wanted.model)
        self._alive.add(model)
        return model

    def free_bytes(self) -> int:
        return self.size - 10 * len(self._alive)


def keeping(size: int) -> tuple[KeptPipelines, Device]:
    device = Device(size)
    return KeptPipelines(device.load, free_bytes=device.free_bytes), device


def test_all_are_kept_while_there_is_room():
    kept, device = keeping(100)
    for name in ("a", "b", "c", "a", "b"):
        kept.of(spec(name))
    assert device.loaded == ["a", "b", "c"]
    assert kept.names == ["c", "a", "b"]


def test_the_one_that_waited_longest_makes_room():
    kept, device = keeping(30)  # two, and room for what a batch takes
    for name in ("a", "b", "a", "c"):
        kept.of(spec(name))
    assert kept.names == ["a", "c"]
    kept.of(spec("b"))
    assert device.loaded == ["a", "b", "c", "b"]


def test_without_a_measure_of_memory_one_is_kept():
    kept = KeptPipelines(lambda wanted: wanted.model)
    kept.of(spec("a"))
    kept.of(spec("b"))
    assert kept.names == ["b"]
    assert (kept.get(spec("a")), kept.get(spec("b"))) == (None, "b")


def test_a_batch_that_does_not_fit_has_the_memory_to_itself():
    kept, _ = keeping(100)
    for name in ("a", "b", "c"):
        kept.of(spec(name))
    assert kept.drop_others(spec("b"))
    assert kept.names == ["b"]
    assert not kept.drop_others(spec("b"))
