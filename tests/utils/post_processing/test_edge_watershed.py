"""Tests of the watershed that moves outlines to edges: they find known edges, touching objects are separated."""

import numpy as np
import pytest
from scipy import ndimage
from skimage.feature import canny
from skimage.segmentation import watershed

from utils.post_processing.edge_watershed import _markers, _relief, check_watershed, edge_watershed
from utils.post_processing.flooding import flood

SHAPE = (72, 96)
SMALL_STEPS = {"open_iterations": 1, "dilate_iterations": 6, "erode_iterations": 4, "canny_sigma": 1.0}


def disc(center, radius, shape=SHAPE):
    y, x = np.indices(shape)
    return (y - center[0]) ** 2 + (x - center[1]) ** 2 <= radius**2


def probability(*parts, shape=SHAPE, background=0.1):
    """Return a float32 (y, x, 1) of masks and their values; later ones lie on top."""
    image = np.full(shape, background, np.float32)
    for mask, value in parts:
        image[mask] = value
    return image[..., np.newaxis]


def picture(*dark, shape=SHAPE):
    """Return a uint8 image (y, x, 1), bright with dark objects."""
    image = np.full(shape, 190, np.uint8)
    for mask in dark:
        image[mask] = 60
    return image[..., np.newaxis]


def refined(prediction, image, **settings):
    [found] = edge_watershed([prediction], [image], **{**SMALL_STEPS, **settings})
    return found


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def count_objects(mask):
    return ndimage.label(mask[..., 0] > 0.5, np.ones((3, 3)))[1]


MITOCHONDRION, BLOB = disc((30, 30), 14), disc((50, 80), 4)


def test_two_classes_are_background_and_foreground():
    prediction = probability((MITOCHONDRION, 0.95), (BLOB, 0.7))
    image = picture(MITOCHONDRION)
    found = refined(np.concatenate([1 - prediction, prediction], axis=-1), image)
    np.testing.assert_allclose(found[..., 1:], refined(prediction, image), atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-6)


def test_inputs_are_left_alone():
    prediction, image = probability((MITOCHONDRION, 0.95), (BLOB, 0.7)), picture(MITOCHONDRION)
    copies = prediction.copy(), image.copy()
    refined(prediction, image, part_touching=True)
    assert np.array_equal(prediction, copies[0]) and np.array_equal(image, copies[1])


@pytest.mark.parametrize("canny_sigma", [0, 1.0, 2.0])
@pytest.mark.parametrize("predicted", [disc((36, 40), 17), disc((36, 40), 24), disc((38, 43), 19)], ids=str)
def test_outlines_move_to_the_edges(canny_sigma, predicted):
    truth = disc((36, 40), 20)
    found = refined(probability((predicted, 0.9)), picture(truth), canny_sigma=canny_sigma)[..., 0] > 0.5
    assert iou(predicted, truth) < 0.85
    assert iou(found, truth) > 0.9


def test_edges_are_found_after_smoothing_too():
    truth = disc((36, 40), 20)
    found = refined(probability((disc((36, 40), 24), 0.9)), picture(truth), gauss_sigma=1.0, canny_sigma=1.0)
    assert iou(found[..., 0] > 0.5, truth) > 0.9


@pytest.mark.parametrize("scale, dtype", [(1, np.uint8), (257, np.uint16), (1 / 255, np.float32)])
def test_edges_do_not_depend_on_the_dtype_of_the_image(scale, dtype):
    prediction, image = probability((disc((36, 40), 17), 0.9)), picture(disc((36, 40), 20))
    found = refined(prediction, (image * np.float64(scale)).astype(dtype))
    assert iou(found > 0.5, refined(prediction, image) > 0.5) > 0.97


def test_stated_range_and_colours():
    prediction, image = probability((disc((36, 40), 17), 0.9)), picture(disc((36, 40), 20))
    expected = refined(prediction, image)
    assert np.array_equal(refined(prediction, image.astype(np.int16), intensity_range=(0, 255)), expected)
    assert np.array_equal(refined(prediction, np.repeat(image, 3, axis=-1)), expected)


def test_blob_that_the_erosion_removes_goes():
    found = refined(probability((MITOCHONDRION, 0.9), (BLOB, 0.9)), picture(MITOCHONDRION))[..., 0]
    assert not found[BLOB].any()
    assert iou(found > 0.5, MITOCHONDRION) > 0.9


def test_hole_is_filled():
    hole = disc((36, 40), 3)
    found = refined(probability((disc((36, 40), 20), 0.9), (hole, 0.1)), picture(disc((36, 40), 20)))
    assert found[hole].all()


@pytest.mark.parametrize("with_membrane", [True, False])
def test_two_touching_ones_part(with_membrane):
    left, right = disc((36, 30), 17), disc((36, 62), 17)  # they overlap in a narrow neck
    dark = left | right
    if with_membrane:
        dark[:, 45:48] = False
    prediction = probability((left | right, 0.9))
    assert count_objects(prediction) == 1
    found = refined(prediction, picture(dark), erode_iterations=8)
    assert count_objects(found) == 2
    assert found[36, 30] == found[36, 62] == 1 and found[36, 43:50].min() == 0
    assert iou(found[..., 0] > 0.5, left | right) > 0.88


def test_line_between_touching_ones_is_one_pixel_wide_and_can_be_left_out():
    prediction = np.ones((30, 40, 1), np.float32)
    prediction[:, 20] = prediction[:, 36:] = 0
    image = np.full((30, 40, 1), 100, np.uint8)
    settings = {"open_iterations": 0, "dilate_iterations": 1, "erode_iterations": 1}
    found = refined(prediction, image, **settings)
    joined = refined(prediction, image, part_touching=False, **settings)
    assert count_objects(joined) == 1 and joined[:, :35].all()
    assert count_objects(found) == 2
    assert (joined - found).sum() == 30 and (joined - found)[:, 18:23].sum() == 30


def test_object_at_the_border_of_the_slice_stays():
    truth = disc((0, 40), 20)
    found = refined(probability((disc((0, 40), 17), 0.9)), picture(truth))[..., 0] > 0.5
    assert iou(found, truth) > 0.88 and found[0, 40]


@pytest.mark.parametrize("value", [0, 1])
def test_uniform_predictions_stay(value):
    prediction = np.full((*SHAPE, 1), value, np.float32)
    assert np.array_equal(refined(prediction, picture(MITOCHONDRION)), prediction)


def test_slice_without_sure_background_keeps_its_mask():
    prediction = np.zeros((16, 16, 1), np.float32)
    prediction[3:12, 4:11] = 0.9
    image = picture(np.s_[1:14, 2:13], shape=(16, 16))
    assert np.array_equal(refined(prediction, image, dilate_iterations=20), prediction > 0.5)


def test_watershed_takes_volumes_and_generators():
    predictions = [probability((disc((36, 40 + shift), 17), 0.9)) for shift in range(3)]
    images = [picture(disc((36, 40 + shift), 20)) for shift in range(3)]
    slices = list(edge_watershed(iter(predictions), iter(images), **SMALL_STEPS))
    [volume] = edge_watershed([np.stack(predictions)], [np.stack(images)], **SMALL_STEPS)
    assert np.array_equal(volume, np.stack(slices)) and volume.dtype == np.float32
    assert set(np.unique(volume)) == {0, 1}
    assert list(edge_watershed([], [])) == []


def test_flooding_only_the_unknown_equals_flooding_everything():
    mask = (disc((31, 28), 19) | disc((42, 74), 13)).astype(np.uint8)
    labels = _markers(mask, 1, 6, 4)
    relief = np.random.default_rng(0).random(SHAPE).astype(np.float32)  # no two values are equal
    assert np.array_equal(flood(labels, relief), watershed(relief, labels))


def test_agrees_with_the_slow_libraries():
    # Canny of scikit-image and of OpenCV thin edges differently, by a pixel here and there.
    rng = np.random.default_rng(0)
    truth = disc((30, 30), 18) | disc((40, 74), 14)
    image = np.clip(picture(truth)[..., 0] / 255 + rng.normal(0, 0.05, SHAPE), 0, 1).astype(np.float32)
    mask = (disc((31, 28), 19) | disc((42, 74), 13)).astype(np.uint8)
    labels = _markers(mask, 1, 6, 4)
    relief = _relief(image, 0, 2.0, (0.01, 0.2))
    slow = -ndimage.distance_transform_edt(~canny(image, 2.0, 0.01, 0.2))
    assert iou(flood(labels, relief) > 1, watershed(slow, labels) > 1) > 0.95


@pytest.mark.parametrize("as_lists", [True, False])
@pytest.mark.parametrize("predictions, images", [(2, 3), (3, 2), (0, 1)])
def test_different_numbers_are_refused(predictions, images, as_lists):
    lists = [probability()] * predictions, [picture()] * images
    message = rf"{predictions} predictions but {images} images|there are {min(predictions, images)} .* but more"
    with pytest.raises(ValueError, match=message):
        list(edge_watershed(*(lists if as_lists else map(iter, lists))))


def test_different_sizes_are_refused():
    with pytest.raises(ValueError, match=r"prediction 2 has the size \(72, 96\), its image \(8, 9\)"):
        list(edge_watershed([probability()] * 2, [picture(), np.zeros((8, 9, 1), np.uint8)]))


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"open_iterations": -1}, "open_iterations is -1.*use 0"),
        ({"dilate_iterations": 1.5}, "dilate_iterations is 1.5"),
        ({"erode_iterations": None}, "erode_iterations is None"),
        ({"dilate_iterations": 0, "erode_iterations": 0}, "nothing to refine.*15 and 7"),
        ({"gauss_sigma": -1}, "gauss_sigma is -1.*use 0"),
        ({"canny_sigma": float("nan")}, "canny_sigma is nan"),
        ({"edge_thresholds": (2.55, 51)}, r"edge_thresholds are \(2.55, 51\).*\(0.01, 0.2\)"),
        ({"edge_thresholds": (0.2, 0.01)}, "a low and a high one"),
        ({"edge_thresholds": 0.1}, "a low and a high one"),
    ],
)
def test_wrong_parameters_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        refined(probability(), picture(), **settings)


def test_checks_name_the_variables_of_a_template():
    steps, sigmas = {"OPEN": 0, "DILATE": 0, "ERODE": 2}, {"SIGMA": 0.0}
    check_watershed(steps, sigmas)
    for wrong, message in (
        ((steps | {"ERODE": 0}, sigmas), "^DILATE and ERODE are 0, which leaves nothing to refine"),
        ((steps | {"OPEN": -1}, sigmas), "^OPEN is -1"),
        ((steps, {"SIGMA": -1.0}), "^SIGMA is -1.0"),
    ):
        with pytest.raises(ValueError, match=message):
            check_watershed(*wrong)


@pytest.mark.parametrize(
    "prediction, message",
    [(np.zeros((*SHAPE, 3)), "3 classes.*one by one"), (np.zeros((*SHAPE, 1), np.uint8), "dtype uint8.*floats")],
    ids=["classes", "dtype"],
)
def test_what_is_no_foreground_probability_is_refused(prediction, message):
    with pytest.raises(ValueError, match=message):
        refined(prediction, picture())
