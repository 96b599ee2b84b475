"""Tests of the model that learns from several outputs and predicts with the first."""

import warnings

import keras
import numpy as np
import pytest

from networks.deep_supervision import DeeplySupervised, resize_to
from utils.metrics.pixels import ForegroundIoU
from utils.training.losses import get_loss


def batch(shape=(2, 8, 12, 1), seed=0):
    return np.random.default_rng(seed).random(shape).astype(np.float32)


def masks(shape=(2, 8, 12, 1), n_classes=2):
    return np.random.default_rng(7).integers(0, n_classes, shape).astype(np.uint8)


def model_with(*strides, n_classes=1, image_shape=(None, None, 1)):
    """Return a model with an output for each stride, the image convolved; the last two share nothing."""
    keras.utils.set_random_seed(0)
    image = keras.Input(image_shape)
    options = {"padding": "same", "activation": "sigmoid" if n_classes == 1 else "softmax"}
    convolution = keras.layers.Conv2D if len(image_shape) == 3 else keras.layers.Conv3D
    outputs = [convolution(n_classes, 3, strides=stride, **options)(image) for stride in strides]
    return DeeplySupervised(image, outputs)


def compiled(model, loss="bce_dice", metrics=(), **options):
    loss = get_loss(loss) if isinstance(loss, str) else loss
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss=loss, metrics=list(metrics), **options)
    return model


def nearest(array, shape):
    """Resize by nearest neighbour, pixel centre for pixel centre."""
    indices = [np.floor((np.arange(s) + 0.5) * h / s).astype(int) for h, s in zip(array.shape[1:], shape, strict=False)]
    return array[np.ix_(range(len(array)), *indices)]


def bce(truth, probability, weight=None):
    pixels = -(truth * np.log(probability) + (1 - truth) * np.log(1 - probability))
    return float((pixels if weight is None else pixels * weight).mean())


def outputs_of(model, x):
    return [keras.ops.convert_to_numpy(output) for output in model(x, training=True)]


def loss_of(model, x, y, weight=None):
    return float(model.compute_loss(x, y, model(x, training=True), weight))


@pytest.mark.parametrize("weights", [(1, 1, 1), (4, 2, 1), (1, 0, 0), (3, 1, 0)])
@pytest.mark.parametrize("size", [(8, 12), (7, 9), (5, 6)])
def test_loss_is_the_weighted_mean_against_masks_of_the_size_of_each_output(size, weights):
    x, y = batch((2, *size, 1)), masks((2, *size, 1))
    model = compiled(model_with(1, 2, 3), "bce", loss_weights=weights)
    outputs = outputs_of(model, x)
    assert outputs[2].shape[1:3] == tuple(-(-s // 3) for s in size)
    single = [bce(nearest(y, output.shape[1:3]), output) for output in outputs]
    assert loss_of(model, x, y) == pytest.approx(np.average(single, weights=weights), rel=1e-4)


def test_outputs_count_the_same_by_default():
    x, y = batch(), masks()
    model = compiled(model_with(1, 2), "bce")
    full, half = outputs_of(model, x)
    expected = (bce(y, full) + bce(nearest(y, (4, 6)), half)) / 2
    assert loss_of(model, x, y) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("shape", [(2, 7, 9, 1), (2,)])
def test_a_compiled_step_has_the_same_loss(shape):
    x, y, weight = batch((2, 7, 9, 1)), masks((2, 7, 9, 1)), batch(shape, seed=3)
    model = compiled(model_with(1, 2), "bce", loss_weights=(2, 1))
    expected = loss_of(model, x, y, weight)
    assert float(model.train_on_batch(x, y, sample_weight=weight)) == pytest.approx(expected, rel=1e-4)


def test_loss_weights_may_be_the_third_argument_as_in_keras():
    model = model_with(1, 2)
    model.compile("sgd", get_loss("bce"), (3, 1))
    assert list(model.output_weights) == [0.75, 0.25]


def test_volumes_are_supervised_too():
    x, y = batch((1, 3, 5, 6, 1)), masks((1, 3, 5, 6, 1))
    model = compiled(model_with(1, (1, 2, 2), image_shape=(None, None, None, 1)), "bce")
    outputs = outputs_of(model, x)
    single = [bce(nearest(y, output.shape[1:4]), output) for output in outputs]
    assert loss_of(model, x, y) == pytest.approx(np.mean(single), rel=1e-4)


def test_classes_are_supervised_too():
    x, y = batch(), masks(n_classes=3)
    model = compiled(model_with(1, 2, n_classes=3), "bce")
    outputs = outputs_of(model, x)
    truth = [np.eye(3)[nearest(y, output.shape[1:3])[..., 0]] for output in outputs]
    single = [-(t * np.log(output)).sum(axis=-1).mean() for t, output in zip(truth, outputs, strict=True)]
    assert loss_of(model, x, y) == pytest.approx(np.mean(single), rel=1e-4)


@pytest.mark.parametrize("shape", [(2, 7, 9, 1), (2, 7, 9), (2,)])
def test_sample_weights_are_of_pixels_or_samples(shape):
    x, y, weight = batch((2, 7, 9, 1)), masks((2, 7, 9, 1)), batch(shape, seed=3)
    model = compiled(model_with(1, 2), "bce", loss_weights=(2, 1))
    pixels = np.ones(y.shape) * weight.reshape((*shape, 1, 1, 1)[:4])
    single = []
    for output in outputs_of(model, x):
        size = output.shape[1:3]
        single.append(bce(nearest(y, size), output, nearest(pixels, size)))
    assert loss_of(model, x, y, weight) == pytest.approx(np.average(single, weights=(2, 1)), rel=1e-4)


def test_sample_weight_of_zero_hides_a_pixel_from_all_outputs():
    x, y = batch(), masks()
    other, weight = y.copy(), np.ones(y.shape, np.float32)
    y[:, :4], other[:, :4], weight[:, :4] = 0, 1, 0
    model = compiled(model_with(1, 2), loss_weights=(1, 1))
    assert loss_of(model, x, y, weight) == pytest.approx(loss_of(model, x, other, weight), rel=1e-6)
    assert loss_of(model, x, y) != pytest.approx(loss_of(model, x, other), rel=1e-3)


@pytest.mark.parametrize("loss", ["binary_crossentropy", keras.losses.BinaryCrossentropy()], ids=["name", "object"])
def test_losses_of_keras_work_too(loss):
    x, y = batch(), masks()
    model = model_with(1, 2)
    model.compile("sgd", loss)
    single = [bce(nearest(y, output.shape[1:3]), output) for output in outputs_of(model, x)]
    assert loss_of(model, x, y.astype(np.float32)) == pytest.approx(np.mean(single), rel=1e-4)


def test_regularisation_is_counted_once():
    image = keras.Input((None, None, 1))
    shared = keras.layers.Conv2D(2, 3, padding="same", kernel_regularizer=keras.regularizers.L2(5.0))(image)
    heads = [keras.layers.Conv2D(1, 1, strides=stride, activation="sigmoid")(shared) for stride in (1, 2)]
    model = compiled(DeeplySupervised(image, heads), "bce")
    x, y = batch(), masks()
    single = [bce(nearest(y, output.shape[1:3]), output) for output in outputs_of(model, x)]
    penalty = float(sum(model.losses))
    assert penalty > 0.1
    assert loss_of(model, x, y) == pytest.approx(np.mean(single) + penalty, rel=1e-4)


def test_validation_metrics_and_prediction_see_the_first_output_alone():
    x, y = batch(), masks()
    model = compiled(model_with(1, 2), "bce", [ForegroundIoU(threshold=0.45)])
    main = outputs_of(model, x)[0]
    np.testing.assert_allclose(model.predict_on_batch(x), main, atol=1e-6)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(model(x)), main, atol=1e-6)
    iou = (y & (main > 0.45)).sum() / (y | (main > 0.45)).sum()
    scores = model.evaluate(x, y, verbose=0, return_dict=True)
    assert scores == pytest.approx({"loss": bce(y, main), "foreground_iou": iou}, rel=1e-4)
    assert model.train_on_batch(x, y, return_dict=True)["foreground_iou"] == pytest.approx(iou, rel=1e-4)


def test_history_looks_like_that_of_a_model_with_one_output():
    x, y = batch(), masks()
    model = compiled(model_with(1, 2), metrics=[ForegroundIoU()])
    history = model.fit(x, y, validation_data=(x, y), epochs=2, batch_size=1, verbose=0).history
    assert sorted(history) == ["foreground_iou", "loss", "val_foreground_iou", "val_loss"]
    assert history["loss"][1] < history["loss"][0]


def test_all_outputs_learn_and_one_of_weight_zero_does_not_without_a_warning():
    model = compiled(model_with(1, 2, 3), loss_weights=(2, 1, 0))
    before = [weight.copy() for weight in model.get_weights()]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.train_on_batch(batch(), masks())
    changed = [not np.array_equal(b, a) for b, a in zip(before, model.get_weights(), strict=True)]
    assert changed == [True, True, True, True, False, False]


def test_part_of_another_model_gives_the_first_output():
    model = model_with(1, 2)
    image = keras.Input((8, 12, 1))
    outer = keras.Model(image, model(image))
    np.testing.assert_allclose(outer.predict_on_batch(batch()), model.predict_on_batch(batch()), atol=1e-6)


def test_saved_compiled_model_keeps_its_weights_and_goes_on_the_same(tmp_path):
    x, y = batch(), masks()
    model = compiled(model_with(1, 2), metrics=[ForegroundIoU()], loss_weights=(3, 1))
    model.train_on_batch(x, y)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert type(again).__name__ == "DeeplySupervised"
    assert list(again.output_weights) == [0.75, 0.25]
    assert int(again.optimizer.iterations) == 1
    np.testing.assert_allclose(again.predict_on_batch(x), model.predict_on_batch(x), atol=1e-6)
    for each in (model, again):
        each.train_on_batch(x, y)
    for weight, weight_again in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(weight_again, weight, atol=1e-6)


def test_model_that_was_never_compiled_can_be_saved(tmp_path):
    model = model_with(1, 2)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert type(again).__name__ == "DeeplySupervised" and not again.compiled
    np.testing.assert_allclose(again.predict_on_batch(batch()), model.predict_on_batch(batch()), atol=1e-6)


@pytest.mark.parametrize("weights", [(1,), (1, 1, 1), (0, 0), (2, -1), ()])
def test_wrong_weights_are_refused(weights):
    with pytest.raises(ValueError, match=r"OUTPUT_WEIGHTS is .* has 2 outputs and wants as many weights"):
        compiled(model_with(1, 2), loss_weights=weights)


@pytest.mark.parametrize("have", [(8, 12), (7, 9), (3, 5)])
@pytest.mark.parametrize("wanted", [(8, 12), (4, 6), (3, 5), (1, 1)])
@pytest.mark.parametrize("channels", [(1,), ()])
def test_resizing_takes_the_nearest_neighbour(have, wanted, channels):
    y = masks((2, *have, *channels), n_classes=200)
    resized = keras.ops.convert_to_numpy(resize_to(keras.ops.convert_to_tensor(y), np.zeros((2, *wanted, 3))))
    assert resized.dtype == np.uint8
    np.testing.assert_array_equal(resized, nearest(y, wanted))


def test_weights_of_samples_are_not_resized():
    weights = keras.ops.ones((2,))
    assert resize_to(weights, np.zeros((2, 4, 4, 1))) is weights
