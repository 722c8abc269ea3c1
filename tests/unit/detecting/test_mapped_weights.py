"""Mapped weights are the same values in the same layout, in a file that processes share."""

from pathlib import Path

import pytest
import torch
from torch import nn

from workers.detecting.openpose.mapped_weights import map_weights


def network(dtype: torch.dtype = torch.bfloat16) -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Conv2d(16, 4, 1))
    return layers.to(dtype=dtype, memory_format=torch.channels_last).eval()


def mappings_of(path: Path) -> list[range]:
    lines = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    spans = [parts[0].split("-") for parts in lines if parts[-1] == str(path)]
    return [range(int(begin, 16), int(end, 16)) for begin, end in spans]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_network_computes_the_same_over_mapped_weights(dtype: torch.dtype, tmp_path: Path) -> None:
    own, mapped = network(dtype), network(dtype)
    map_weights(mapped, tmp_path)
    picture = torch.rand(2, 8, 6, 6, dtype=dtype)
    with torch.inference_mode():
        assert torch.equal(own(picture), mapped(picture))
    kernels = [each for each in mapped.parameters() if each.ndim == 4]
    assert all(each.is_contiguous(memory_format=torch.channels_last) for each in kernels)


def test_weights_lie_in_the_file_and_not_in_memory_of_their_own(tmp_path: Path) -> None:
    mapped = network()
    map_weights(mapped, tmp_path)
    (path,) = tmp_path.iterdir()
    spans = mappings_of(path)
    assert all(any(each.data_ptr() in span for span in spans) for each in mapped.parameters())


def test_two_processes_that_load_the_same_weights_share_a_file(tmp_path: Path) -> None:
    for _ in range(2):
        map_weights(network(), tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    map_weights(network(torch.float32), tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_that_cannot_be_written_leaves_the_weights_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    own = network()
    map_weights(own, tmp_path / "file")
    with torch.inference_mode():
        assert own(torch.rand(1, 8, 6, 6, dtype=torch.bfloat16)).shape == (1, 4, 4, 4)
