"""Tests of images whose voxels have another size than those of the training."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest

from utils.data.experiment_data import NetworkInput
from utils.data.image_set import ImageSet
from utils.images.image_files import ImageName
from utils.images.scale import Scale, scale_of
from utils.prediction.new_images import note_differences
from utils.prediction.predictor import Predictor
from utils.prediction.rescaling import resample, voxel_size_note, zoom_factors


def named(*sizes):
    return [ImageName(f"{number}.tif", scale=scale_of(size)) for number, size in enumerate(sizes)]


def discs(pixel_nm, centres, *, radius_nm, side_nm=640, seed=0):
    """Return a noisy image of bright discs and their mask, at a pixel size."""
    places = (np.indices((round(side_nm / pixel_nm),) * 2) + 0.5) * pixel_nm
    mask = np.any([((places - np.reshape(c, (2, 1, 1))) ** 2).sum(0) < radius_nm**2 for c in centres], axis=0)
    noise = np.random.default_rng(seed).normal(0, 12, mask.shape)
    return np.clip(np.where(mask, 200, 60) + noise, 0, 255).astype(np.uint8)[..., np.newaxis], mask


CENTRES = [(120, 130), (140, 460), (330, 300), (500, 120), (520, 510)]


def finder_of_large_discs(**known):
    """Return a predictor that finds bright objects which hold a disc of 5 pixels, as a network knows its objects."""
    image = keras.Input((None, None, 1))
    core, bright = (keras.layers.Conv2D(1, side, padding="same", activation="sigmoid") for side in (11, 3))
    near = keras.layers.MaxPooling2D(11, strides=1, padding="same")(core(image))
    model = keras.Model(image, keras.layers.Minimum()([near, bright(image)]))
    disc = ((np.indices((11, 11)) - 5) ** 2).sum(0) <= 25
    for layer, kernel, share in ((core, disc, 0.85), (bright, np.ones((3, 3)), 0.5)):
        kernel = np.float32(40 / kernel.sum() * kernel)[..., np.newaxis, np.newaxis]
        layer.set_weights([kernel, np.array([-40 * (60 + 140 * share) / 255], np.float32)])
    data = NetworkInput(crop_shape=(32, 32, 1), dtype="uint8", **known)
    return Predictor(model, data, batch_size=2, stored=True, divisor=1)


def iou(found, mask):
    return (found & mask).sum() / (found | mask).sum()


def test_a_network_finds_objects_in_larger_pixels_only_when_they_are_rescaled(capsys):
    predictor = finder_of_large_discs(voxel_size_nm=5.0)
    small, truth = discs(5, CENTRES, radius_nm=35)
    assert iou(predictor.segment(small)[..., 0] > 0, truth) > 0.75
    large, truth = discs(8, CENTRES, radius_nm=35)
    images = ImageSet([large], None, named((8.0, 8.0)), ())
    plain, rescaled = (next(predictor.by_protocol(images, rescale=rescale)) for rescale in (False, True))
    assert plain.shape == rescaled.shape == (80, 80, 1) and rescaled.dtype == np.float32
    assert iou(plain[..., 0] > 0.5, truth) < 0.4 < 0.7 < iou(rescaled[..., 0] > 0.5, truth)
    np.testing.assert_array_equal(predictor.predict(large, voxel_size_nm=8.0), rescaled)
    note_differences(images, predictor)
    note_differences(images, predictor, rescale=True)
    note, done = capsys.readouterr().out.splitlines()
    assert note.startswith("Note: the pixels of 0.tif are 8 x 8 nm; those of the training images were 5 x 5 nm.")
    assert "--set RESCALE=True" in note and done.startswith(
        "Note: images are resampled to the voxel size of the training"
    )


@pytest.mark.parametrize("protocol", ["blended", "crops", "full"])
def test_each_image_has_a_size_of_its_own_and_keeps_it(protocol):
    predictor = finder_of_large_discs(voxel_size_nm=(5.0, 5.0))
    arrays = [discs(size, CENTRES, radius_nm=35)[0] for size in (5, 8, 3)]
    images = ImageSet(arrays, None, named(5.0, 8.0, 3.0), ())
    found = list(predictor.by_protocol(images, protocol, rescale=True))
    assert [probability.shape for probability in found] == [image.shape for image in arrays]
    np.testing.assert_array_equal(found[0], next(predictor.by_protocol(arrays[:1], protocol)))
    truth = discs(3, CENTRES, radius_nm=35)[1]
    assert iou(found[2][..., 0] > 0.5, truth) > 0.7


def test_resampling_keeps_borders_dtype_and_means():
    ramp = np.repeat(np.arange(0, 240, 4, np.uint8)[:, np.newaxis], 30, axis=1)[..., np.newaxis]
    larger = resample(ramp, (96, 48))
    assert larger.dtype == np.uint8 and larger.shape == (96, 48, 1)
    assert abs(larger.mean() - ramp.mean()) < 0.5 and np.abs(resample(larger, (60, 30)).astype(int) - ramp).max() <= 2
    colours = np.stack([ramp[..., 0], 255 - ramp[..., 0]], axis=-1)
    assert resample(colours, (30, 30)).shape == (30, 30, 2)
    volume = np.random.default_rng(0).random((5, 8, 8, 1), np.float32)
    assert resample(volume, (5, 8, 8)) is volume and resample(volume, (10, 8, 4)).shape == (10, 8, 4, 1)


def test_noise_is_averaged_where_pixels_become_larger():
    noise = np.random.default_rng(0).normal(100, 20, (128, 128, 1)).astype(np.float32)
    assert resample(noise, (32, 32)).std() < 8


def test_only_quite_another_size_is_worth_a_note():
    def note(trained, *sizes, volumes=False):
        return voxel_size_note(named(*sizes), trained, volumes=volumes, remedy="Rescale.")

    assert (
        note(5.0, 5.0, (5.9, 5.0)) is None
        and "6.1 x 5 nm" in note(5.0, (6.1, 5.0))
        and note(None, 5.0) is None
        and note(5.0, None) is None
    )
    assert "the pixels of 1.tif are 5 x 8 nm; those of the training images were 5 x 5 nm. Rescale." == note(
        5.0, 5.0, (5.0, 8.0)
    )
    assert note((30.0, 5.0, 5.0), (80.0, 5.0, 5.0)) is None  # in 2D only y and x count
    assert "80 x 5 x 5 nm" in note((30.0, 5.0, 5.0), (80.0, 5.0, 5.0), volumes=True)
    assert "9 x 9" in note((5.0, 5.0), (80.0, 9.0, 9.0), volumes=True)
    assert "of 5 files, 0.tif, 1.tif, 2.tif ... are 9 x 9 nm" in note(5.0, *[9.0] * 5)


def test_an_unknown_size_is_refused_in_a_sentence():
    with pytest.raises(ValueError, match=r'which the run does not know; .*"voxel_size_nm": \[5.0, 5.0\]'):
        zoom_factors(named(5.0), None, volumes=False)
    with pytest.raises(ValueError, match=r"size of the pixels, which is not known of 1.tif. Give VOXEL_SIZE_NM"):
        zoom_factors(named(5.0, None), 5.0, volumes=False)
    with pytest.raises(ValueError, match="size of the voxels"):
        zoom_factors([ImageName("a.tif", scale=Scale((None, 5.0, 5.0)))], (30.0, 5.0, 5.0), volumes=True)
    assert zoom_factors(named(8.0, 5.02), (5.0, 5.0), volumes=False) == [(1.6, 1.6), (1.0, 1.0)]
    predictor = SimpleNamespace(data=NetworkInput(crop_shape=(32, 32, 1)), is_3d=False)
    with pytest.raises(ValueError, match="RESCALE needs"):
        note_differences(ImageSet([], None, [], ()), predictor, rescale=True)
