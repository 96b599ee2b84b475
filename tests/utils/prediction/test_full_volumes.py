"""Tests of whether whole volumes go through a network."""

import numpy as np
import pytest

from networks.unet import U_Net_3D
from utils.data.experiment_data import NetworkInput
from utils.data.image_set import ImageSet
from utils.prediction import full_volumes
from utils.prediction.full_volumes import OUTPUTS_AT_ONCE, bytes_of_prediction, full_volumes_fit
from utils.prediction.predictor import Predictor

VOLUMES = [np.zeros(shape, np.uint8) for shape in ((4, 8, 8, 1), (5, 15, 16, 1))]


@pytest.fixture(scope="module")
def model():
    return U_Net_3D((None, None, None, 1), feature_maps=(3, 5), depth=1, drop_values=(0.0, 0.0))


def test_the_largest_output_of_the_padded_volume_counts(model):
    # Skip and upsampled maps of the first level, side by side: 3 + 3 channels.
    assert bytes_of_prediction(model, VOLUMES[1].shape, (2, 2, 2)) == OUTPUTS_AT_ONCE * 4 * 6 * 16 * 16 * 6


@pytest.mark.parametrize(("memory", "fits"), [(10**9, True), (10**4, False), (None, False)])
def test_volumes_that_do_not_fit_are_left_out(memory, fits, model, monkeypatch, capsys):
    monkeypatch.setattr(full_volumes, "device_memory", lambda: memory)
    predictor = Predictor(model, NetworkInput(crop_shape=(2, 4, 4, 1)), batch_size=1, divisor=(2, 2, 2))
    volumes = ImageSet(VOLUMES, None, [None, None], ())
    assert full_volumes_fit(predictor, volumes) is fits
    assert ("predicted." if fits else "left out.") in capsys.readouterr().out
    assert full_volumes_fit(predictor, volumes, wanted=not fits) is not fits
