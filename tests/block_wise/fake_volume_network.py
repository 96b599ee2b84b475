"""A network without Keras for tests of block-wise prediction, which also travels to worker processes."""

import functools
import pickle
import sys

import cloudpickle
import numpy as np

from block_wise.grid import BlockGrid
from block_wise.job import BlockJob, Network
from block_wise.volumes import VolumeAddress

# Worker processes cannot import the tests: what stands here travels as code.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


class FakeNetwork:
    """Probabilities that depend on the grey value and on the place in the subvolume."""

    def __init__(self, classes=1, seconds=0.0, factor=1.0):
        self.classes, self.seconds, self.factor = classes, seconds, factor

    def predict_on_batch(self, batch):
        import time

        time.sleep(self.seconds)
        ramp = np.linspace(0.8, 1.0, batch[0].size).reshape(batch.shape[1:])
        foreground = (batch * ramp * self.factor).astype(np.float32)
        return foreground if self.classes == 1 else np.concatenate([1 - foreground, foreground], axis=-1)


class FakePredictor:
    """The part of a predictor that a worker uses, without Keras."""

    def __init__(self, network, batch_size, intensity_range):
        self.network, self.tiles = network, {"batch_size": batch_size, "intensity_range": intensity_range}

    def each(self, images, *, ensemble=False):
        from utils.prediction.protocols import predict_each

        return predict_each(self.network, images, ensemble=ensemble, **self.tiles)


def make_job(
    folder,
    volume,
    crop,
    block,
    *,
    network=None,
    grid_options=None,
    classes=1,
    batch_size=1,
    intensity_range=None,
    **options,
):
    """Return a job on a volume file with the fake network, or on an array, which is written as zarr."""
    import zarr

    if isinstance(volume, np.ndarray):
        if not (folder / "input.zarr").exists():
            zarr.create_array(folder / "input.zarr", data=volume, chunks=(4, 16, 16))
        volume = folder / "input.zarr"
    from block_wise.volumes import open_volume

    network = network or FakeNetwork(classes)
    predictor = FakePredictor(network, batch_size, intensity_range)
    make = functools.partial(pickle.loads, cloudpickle.dumps(predictor))
    grid_options = {"blending": True} if grid_options is None else grid_options
    grid = BlockGrid(open_volume(VolumeAddress(volume)).shape, crop, block, **grid_options)
    key = repr(sorted(vars(network).items()))
    described = Network(key, make, crop, classes, batch_size, intensity_range)
    return BlockJob(folder / "run", VolumeAddress(str(volume)), grid, described, **options)


def blobs(shape, seed=0):
    """Return a smooth random volume, uint8, with objects of all sizes above 127."""
    from scipy import ndimage

    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), 1.2)
    return np.uint8(255 * (noise - noise.min()) / np.ptp(noise))
