"""Tests of the watershed from where the prediction is sure: outlines find known edges, nothing is mistaken or lost."""

import numpy as np
import pytest
from scipy import ndimage

from utils.post_processing.gradient_watershed import _local_range, gradient_watershed

SHAPE = (72, 96)
SMALL = {"marker_radius": 6, "gradient_radius": 1}


def disc(center, radius, shape=SHAPE):
    y, x = np.indices(shape)
    return (y - center[0]) ** 2 + (x - center[1]) ** 2 <= radius**2


def probability(mask, value=0.9):
    return np.where(mask, value, 0.05).astype(np.float32)[..., np.newaxis]


def picture(*dark, value=60, shape=SHAPE):
    image = np.full(shape, 190, np.uint8)
    for mask in dark:
        image[mask] = value
    return image[..., np.newaxis]


def refined(mask, image, **settings):
    prediction = mask if mask.ndim == 3 else probability(mask)
    [found] = gradient_watershed([prediction], [image], **{**SMALL, **settings})
    assert found.shape == prediction.shape and found.dtype == prediction.dtype
    return found[..., -1] > 0.5


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def count_objects(mask):
    return ndimage.label(mask, np.ones((3, 3)))[1]


@pytest.mark.parametrize("predicted", [disc((36, 40), 17), disc((36, 40), 24), disc((38, 43), 19)], ids=str)
@pytest.mark.parametrize("gradient_radius", [1, 2])
def test_outlines_move_to_the_edges(predicted, gradient_radius):
    truth = disc((36, 40), 20)
    assert iou(predicted, truth) < 0.85
    assert iou(refined(predicted, picture(truth), gradient_radius=gradient_radius), truth) > 0.93


def test_bright_objects_and_every_dtype():
    truth, predicted = disc((36, 40), 20), disc((36, 40), 17)
    expected = refined(predicted, picture(truth))
    assert np.array_equal(refined(predicted, 255 - picture(truth)), expected)
    for scale, dtype in ((257, np.uint16), (1 / 255, np.float32)):
        image = (picture(truth) * np.float64(scale)).astype(dtype)
        assert iou(refined(predicted, image), expected) > 0.97


def test_noise_does_not_carry_outlines_away():
    truth = disc((36, 40), 20)
    noisy = picture(truth) + np.random.default_rng(0).normal(0, 10, (*SHAPE, 1))
    found = refined(disc((36, 40), 17), np.clip(noisy, 0, 255).astype(np.uint8), gradient_radius=2)
    assert iou(found, truth) > 0.9


def test_an_image_without_edges_leaves_outlines_within_the_radius():
    predicted = disc((36, 40), 20)
    found = refined(predicted, picture())
    assert (found | ~disc((36, 40), 12)).all() and not (found & ~disc((36, 40), 28)).any()


def test_foreground_in_the_first_corner_is_not_taken_for_background():
    truth, predicted = disc((0, 0), 30), disc((0, 0), 26)
    assert iou(refined(predicted, picture(truth)), truth) > 0.93


def test_more_than_255_objects_stay_apart():
    shape = (340, 340)
    truth = np.zeros(shape, bool)
    for y in range(4, 330, 20):
        for x in range(4, 330, 20):
            truth[y : y + 12, x : x + 12] = True
    assert count_objects(truth) == 289
    predicted = ndimage.binary_erosion(truth, np.ones((3, 3)))
    found = refined(predicted, picture(truth, shape=shape), marker_radius=3)
    assert count_objects(found) == 289 and iou(found, truth) > 0.95


def test_an_object_without_a_sure_pixel_stays_as_predicted():
    large, thin = disc((30, 30), 18), np.zeros(SHAPE, bool)
    thin[60:64, 40:80] = True
    found = refined(large | thin, picture(large, thin))
    assert np.array_equal(found[55:], thin[55:]) and iou(found[:55], large[:55]) > 0.93


@pytest.mark.parametrize("part_touching, count", [(True, 2), (False, 1)])
def test_touching_objects_part(part_touching, count):
    truth = [disc((36, 30), 18), disc((36, 66), 18)]
    image = picture(*truth)
    image[:, 47:50] = 190
    image[30:43, 47:50] = 120
    found = refined(truth[0] | truth[1], image, part_touching=part_touching, marker_radius=9)
    assert count_objects(found) == count
    assert iou(found, truth[0] | truth[1]) > 0.93


def test_small_changes_of_the_probability_are_sure_enough():
    truth, predicted = disc((36, 40), 20), disc((36, 40), 17)
    wavy = probability(predicted)
    wavy[::2] -= 0.03
    assert np.array_equal(refined(wavy, picture(truth)), refined(predicted, picture(truth)))
    wavy[::2] -= 0.02
    assert np.array_equal(refined(wavy, picture(truth)), predicted)  # nowhere sure: as predicted
    assert iou(refined(wavy, picture(truth), max_change=0.1), truth) > 0.93


def test_a_slice_without_sure_background_keeps_its_mask():
    predicted = np.ones(SHAPE, bool)
    predicted[:, 50:54] = False
    assert np.array_equal(refined(predicted, picture(disc((36, 40), 20))), predicted)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_uniform_predictions_stay(value):
    assert (refined(np.full((*SHAPE, 1), value, np.float32), picture(disc((36, 40), 20))) == value).all()


def test_volumes_two_classes_and_inputs_left_alone():
    masks, images = [disc((36, 40), r) for r in (15, 17, 24)], [picture(disc((36, 40), 20))] * 3
    slices = [probability(mask) for mask in masks]
    expected = np.stack(list(gradient_watershed(slices, iter(images), **SMALL)))
    [volume] = gradient_watershed([np.stack(slices)], [np.stack(images)], **SMALL)
    assert np.array_equal(volume, expected)
    both = np.concatenate([1 - slices[0], slices[0]], axis=-1)
    before = both.copy(), images[0].copy()
    [found] = gradient_watershed([both], images[:1], **SMALL)
    assert np.array_equal(found[..., 1:], expected[0]) and np.array_equal(found.sum(axis=-1), np.ones(SHAPE))
    assert np.array_equal(both, before[0]) and np.array_equal(images[0], before[1])
    assert list(gradient_watershed([], [])) == []


def test_local_range_is_that_of_a_disc():
    image = np.random.default_rng(0).integers(0, 255, (20, 24), np.uint8)
    y, x = np.ogrid[-3:4, -3:4]
    around = y**2 + x**2 <= 9
    high, low = ndimage.maximum_filter(image, footprint=around), ndimage.minimum_filter(image, footprint=around)
    assert np.array_equal(_local_range(image, 3)[3:-3, 3:-3], (high - low)[3:-3, 3:-3])


@pytest.mark.parametrize(
    "wrong", [{"marker_radius": 0}, {"gradient_radius": 1.5}, {"max_change": 0}, {"max_change": 2}]
)
def test_impossible_parameters_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is {next(iter(wrong.values()))}.* say"):
        list(gradient_watershed([], [], **wrong))


def test_predictions_and_images_that_do_not_belong_together_are_refused():
    prediction, image = probability(disc((36, 40), 20)), picture()
    with pytest.raises(ValueError, match="2 predictions but 1 images"):
        list(gradient_watershed([prediction] * 2, [image]))
    with pytest.raises(ValueError, match=r"prediction 1 has the size \(72, 96\), its image \(72, 95\)"):
        list(gradient_watershed([prediction], [image[:, 1:]]))
    with pytest.raises(ValueError, match="3 classes"):
        list(gradient_watershed([np.zeros((*SHAPE, 3))], [image]))
