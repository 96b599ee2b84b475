"""Tests of the protocols in one call: which stages there are, and which a template can leave out."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest

from utils.data.experiment_data import NetworkInput
from utils.data.image_set import ImageSet
from utils.prediction.evaluation import evaluate_images, evaluate_volumes
from utils.prediction.predictor import Predictor


class Recorder:
    """Stand in for a run: keeps what is evaluated, in order."""

    def __init__(self):
        self.stages = []

    def section(self, title):
        """Say nothing."""

    def evaluate(self, protocol, images, predictions, *, post="none", **_):
        """Note the stage and return its predictions."""
        found = list(predictions)
        assert len(found) == len(images)
        self.stages.append((protocol, post))
        return found


def images_of(*shapes):
    arrays = [np.zeros(shape, np.uint8) for shape in shapes]
    return ImageSet(arrays, arrays, [f"{number}.tif" for number in range(len(arrays))], (0, 1))


@pytest.fixture
def stages_of():
    """Return a function that evaluates one toy set and returns the stages."""

    def stages(axes, **options):
        crop, image = ((8, 8, 1), (12, 10, 1)) if axes == 2 else ((2, 8, 8, 1), (4, 12, 10, 1))
        layer = (keras.layers.Conv2D, keras.layers.Conv3D)[axes - 2]
        model = keras.Sequential([keras.Input((*[None] * axes, 1)), layer(1, 1, activation="sigmoid")])
        data = SimpleNamespace(test=images_of(image, image), test_crops=images_of(crop), overlap=0.0)
        predictor = Predictor(model, NetworkInput(crop_shape=crop), batch_size=2, divisor=(1,) * axes)
        evaluate, recorder = (evaluate_images, evaluate_volumes)[axes - 2], Recorder()
        saved = evaluate(recorder, predictor, data, **options)
        assert list(saved) == recorder.stages[1:]
        return recorder.stages

    return stages


@pytest.mark.parametrize(("axes", "n_stages"), [(2, 11), (3, 9)])
@pytest.mark.parametrize("z_filter_size", [3, 0])
def test_without_the_ensemble_all_else_stays(axes, n_stages, z_filter_size, stages_of):
    options = {"z_filter_size": z_filter_size} | ({"full_volume": True} if axes == 3 else {})
    complete = stages_of(axes, **options)
    assert len(complete) == n_stages if z_filter_size else all("z_filter" not in post for _, post in complete)
    assert any(post == "ensemble" for _, post in complete)
    expected = [(protocol, post) for protocol, post in complete if "ensemble" not in post]
    assert stages_of(axes, ensemble=False, **options) == expected


def test_without_half_overlap_all_else_stays(stages_of):
    complete = stages_of(3, z_filter_size=3, full_volume=False)
    assert stages_of(3, z_filter_size=3, full_volume=False, half_overlap=False) == [
        (protocol, post) for protocol, post in complete if protocol != "overlap_50"
    ]
