"""Tests of weights taken over where they fit, and of frozen layers."""

import keras
import numpy as np
import pytest

from networks.unet import U_Net_2D
from utils.training.fine_tuning import freeze_layers, load_matching_weights


def build(channels=1, **options):
    settings = {"feature_maps": (2, 4), "depth": 1, "drop_values": (0.1, 0.0), "batch_norm": True}
    return U_Net_2D((None, None, channels), **settings | options)


def randomise(model):
    rng = np.random.default_rng(0)
    model.set_weights([rng.random(weight.shape) + 0.5 for weight in model.get_weights()])
    return model


@pytest.fixture(scope="module")
def trained():
    return randomise(build())


@pytest.fixture(scope="module")
def weights_file(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "best.weights.h5"
    trained.compile("adam", "binary_crossentropy")
    trained.optimizer.build(trained.trainable_variables)
    trained.save_weights(path)
    return path


def weights_by_layer(model):
    return [(layer, layer.get_weights()) for layer in model.layers if layer.weights]


def check_taken_over(model, trained, *, before, misfits):
    """Every layer has the weights of the trained network, those named have their own."""
    pairs = zip(weights_by_layer(model), weights_by_layer(trained), before, strict=True)
    for (layer, found), (_, theirs), (_, own) in pairs:
        expected = own if layer.name in misfits else theirs
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True)), layer.name


def test_the_same_network_takes_everything(trained, weights_file, capsys):
    model = build()
    before = weights_by_layer(model)
    assert load_matching_weights(model, weights_file) == []
    check_taken_over(model, trained, before=before, misfits=[])
    assert "14 of 14 layers fit" in capsys.readouterr().out


def test_another_number_of_classes_keeps_the_last_layer(trained, weights_file, capsys):
    model = build(n_classes=3)
    before = weights_by_layer(model)
    assert load_matching_weights(model, weights_file) == ["probability"]
    check_taken_over(model, trained, before=before, misfits=["probability"])
    said = "probability keeps its own: (1, 1, 2, 3), (3,) here, (1, 1, 2, 1), (1,) in the file"
    assert said in capsys.readouterr().out


def test_other_channels_keep_the_first_layer(trained, weights_file):
    model = build(channels=3)
    before, first = weights_by_layer(model), model.layers[1].name
    assert load_matching_weights(model, weights_file) == [first]
    check_taken_over(model, trained, before=before, misfits=[first])


def test_layers_that_the_file_lacks_are_named(weights_file, tmp_path, capsys):
    inputs = keras.Input((None, None, 1))
    x = keras.layers.Conv2D(2, 3, padding="same")(inputs)
    small = keras.Model(inputs, x)
    small.save_weights(tmp_path / "small.weights.h5")
    larger = keras.Model(inputs, keras.layers.BatchNormalization(name="new")(x))
    assert load_matching_weights(larger, tmp_path / "small.weights.h5") == ["new"]
    assert "new keeps its own: (2,), (2,), (2,), (2,) here, not in the file" in capsys.readouterr().out


def test_networks_within_networks_are_taken_over(tmp_path):
    def nested(n_classes):
        image = keras.Input((8, 8, 1))
        encoder = keras.Model(image, keras.layers.Conv2D(4, 3)(keras.layers.Conv2D(3, 3)(image)))
        inputs = keras.Input((8, 8, 1))
        return keras.Model(inputs, keras.layers.Conv2D(n_classes, 1, name="last")(encoder(inputs)))

    first, second = randomise(nested(1)), nested(4)
    first.save_weights(tmp_path / "first.weights.h5")
    assert load_matching_weights(second, tmp_path / "first.weights.h5") == ["last"]
    for ours, theirs in zip(second.get_weights()[:4], first.get_weights()[:4], strict=True):
        assert np.array_equal(ours, theirs)


def test_the_optimizer_and_the_seeds_of_dropout_stay(weights_file):
    model = build()
    model.compile("adam", "binary_crossentropy", jit_compile=False)
    image = np.random.default_rng(0).random((2, 8, 8, 1))
    model.train_on_batch(image, image > 0.5)
    seeds = [layer.seed_generator.state for layer in model.layers if hasattr(layer, "seed_generator")]
    kept = [*model.optimizer.variables, *seeds]
    before = [np.array(keras.ops.convert_to_numpy(variable.value)) for variable in kept]
    load_matching_weights(model, weights_file)
    assert int(model.optimizer.iterations) == 1
    for variable, value in zip(kept, before, strict=True):
        assert np.array_equal(keras.ops.convert_to_numpy(variable.value), value)


def test_weights_of_which_less_than_half_fit_are_refused_and_nothing_changes(weights_file):
    model = build(feature_maps=(3, 4))
    before = model.get_weights()
    with pytest.raises(
        ValueError, match=r"does not fit this network: 3 of 14 layers .*here.*in the file.*FEATURE_MAPS"
    ):
        load_matching_weights(model, weights_file)
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), before, strict=True))


def test_weights_of_which_nothing_fits_are_refused(weights_file):
    dense = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    with pytest.raises(ValueError, match="0 of 1 layers"):
        load_matching_weights(dense, weights_file)


def test_files_that_are_missing_or_hold_no_weights_are_refused(tmp_path):
    with pytest.raises(ValueError, match="does not exist. Give the path of a best.weights.h5"):
        load_matching_weights(build(), tmp_path / "none.weights.h5")
    (tmp_path / "text.weights.h5").write_text("no weights")
    with pytest.raises(ValueError, match="text.weights.h5 is not a weights file"):
        load_matching_weights(build(), tmp_path / "text.weights.h5")


def test_frozen_layers_do_not_learn_and_the_others_do():
    model = randomise(build())
    pooling = next(layer.name for layer in model.layers if "pooling" in layer.name)
    frozen = freeze_layers(model, until=pooling)
    assert frozen == [
        layer.name for layer in model.layers[: model.layers.index(model.get_layer(pooling))] if layer.weights
    ]
    assert len(frozen) == 4
    model.compile(keras.optimizers.SGD(0.1), "binary_crossentropy", jit_compile=False)
    before = weights_by_layer(model)
    image = np.random.default_rng(0).random((2, 8, 8, 1))
    model.train_on_batch(image, image > 0.5)
    for (layer, now), (_, then) in zip(weights_by_layer(model), before, strict=True):
        same = all(np.array_equal(a, b) for a, b in zip(now, then, strict=True))
        assert same == (layer.name in frozen), layer.name


def test_unknown_layers_and_nothing_to_train_are_refused():
    model = build()
    with pytest.raises(ValueError, match="FREEZE_UNTIL 'probabilty' is not known; did you mean 'probability'"):
        freeze_layers(model, until="probabilty")
    with pytest.raises(ValueError, match="leaves nothing to be trained"):
        freeze_layers(model, until="probability")
