"""Tests of the networks that have no file of tests of their own, such as the U-Nets of the study with other blocks."""

from pathlib import Path

import keras
import numpy as np
import pytest
from toy_pages import n_axes, pages_of_networks, toy_settings

from networks.attention_unet import Attention_U_Net_2D, Attention_U_Net_3D
from networks.residual_unet import ResUNet_2D, ResUNet_3D
from networks.se_unet import SE_U_Net_2D, SE_U_Net_3D
from networks.vanilla_unet import Vanilla_U_Net_3D
from study.page_network import build_network

KASTHURI = {"feature_maps": (36, 48, 64, 80), "depth": 3, "drop_values": (0, 0, 0, 0)}
STUDY = {"feature_maps": (28, 36, 48, 64)}
DEEP = {"feature_maps": (28, 36, 48, 64, 80), "depth": 4, "drop_values": (0,) * 5}
TINY = {"feature_maps": (4, 6, 8), "depth": 2, "drop_values": (0.0, 0.0, 0.0)}
DEFAULTS = {"DROP_VALUES": (0.0, 0.0, 0.0), "DROP_ORDER": "level", "GATE": "skip"}


def has_own_tests(module):
    return Path(__file__).with_name(f"test_{module.split('.')[-1]}.py").exists()


PAGES = {name: page for (module, name), page in pages_of_networks().items() if not has_own_tests(module)}
IN_2D, IN_3D = ([name for name, page in PAGES.items() if n_axes(page) == axes] for axes in (2, 3))


def tiny(name, **options):
    return build_network(PAGES[name], **toy_settings(PAGES[name]) | DEFAULTS | options)[0]


def batch(name, *, n=2, seed=0):
    size = (16, 24) if name in IN_2D else (5, 9, 12)
    return np.random.default_rng(seed).random((n, *size, 1)).astype(np.float32)


@pytest.mark.parametrize(
    ("builder", "options", "count"),
    [
        (ResUNet_2D, {}, 2_028_609),
        (ResUNet_3D, {}, 5_732_705),
        (ResUNet_3D, DEEP, 1_501_293),
        (ResUNet_3D, KASTHURI, 1_378_801),
        (Attention_U_Net_2D, {}, 1_985_061),
        (Attention_U_Net_2D, {"gate": "decoder"}, 1_985_061),
        (Attention_U_Net_3D, {}, 5_643_396),
        (Attention_U_Net_3D, STUDY, 797_924),
        (SE_U_Net_2D, {}, 1_951_697),
        (SE_U_Net_3D, {}, 5_610_465),
        (SE_U_Net_3D, STUDY, 790_769),
        (Vanilla_U_Net_3D, {}, 19_078_337),
    ],
)
def test_parameter_count(builder, options, count):
    assert builder((None,) * (3 if "3D" in builder.__name__ else 2) + (1,), **options).count_params() == count


def test_the_normalisation_of_the_vanilla_network_has_4672_values_that_are_not_trained():
    model = Vanilla_U_Net_3D((None, None, None, 1))
    assert sum(int(keras.ops.size(weight)) for weight in model.trainable_weights) == 19_073_665


@pytest.mark.parametrize("name", IN_2D + IN_3D)
@pytest.mark.parametrize("n_classes", [1, 3])
def test_output_is_a_probability_of_the_size_of_the_input(name, n_classes):
    x = batch(name)
    output = tiny(name, N_CLASSES=n_classes).predict_on_batch(x)
    assert output.shape == (*x.shape[:-1], n_classes) and output.dtype == np.float32
    assert output.min() >= 0 and output.max() <= 1 and np.ptp(output) > 0
    if n_classes > 1:
        np.testing.assert_allclose(output.sum(axis=-1), 1, atol=1e-5)


@pytest.mark.parametrize("name", IN_2D + IN_3D)
def test_a_step_lowers_the_loss_and_reaches_every_weight(name):
    keras.utils.set_random_seed(0)
    model = tiny(name)
    model.compile(optimizer=keras.optimizers.SGD(0.05), loss="binary_crossentropy")
    x = batch(name, n=4)
    y = (x > 0.5).astype(np.uint8)
    before = [np.array(weight) for weight in model.get_weights()]
    losses = [float(model.train_on_batch(x, y)) for _ in range(3)]
    assert losses[0] > losses[-1]
    unchanged = [w.path for w, b, a in zip(model.weights, before, model.get_weights(), strict=True) if (a == b).all()]
    # The few ReLU units of a tiny squeeze-and-excitation may all be silent.
    assert [path for path in unchanged if "dense" not in path] == []


@pytest.mark.parametrize("name", IN_2D + IN_3D)
def test_saved_model_predicts_the_same(tmp_path, name):
    model = tiny(name)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    x = batch(name)
    np.testing.assert_allclose(again.predict_on_batch(x), model.predict_on_batch(x), atol=1e-6)


@pytest.mark.parametrize("name", IN_3D)
@pytest.mark.parametrize("z_down", [1, (1, 2)])
def test_poolings_along_z_are_a_choice(name, z_down):
    x = batch(name)
    assert tiny(name, Z_DOWN=z_down).predict_on_batch(x).shape == x.shape


def depends_on_encoder(gate):
    """Return whether the first skip reaches the decoder by more than its gate: whether an open gate lets it pass."""
    model = tiny("Attention_U_Net_2D", GATE=gate)
    last_gate = [layer for layer in model.layers if isinstance(layer, keras.layers.Multiply)][-1]
    multiplied = {tensor.name for tensor in last_gate._inbound_nodes[0].input_tensors}
    up = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2DTranspose)][-1]
    return up.output.name not in multiplied


def test_the_attention_gate_gates_the_skip_and_on_request_what_the_published_code_did():
    assert depends_on_encoder("skip") and not depends_on_encoder("decoder")
    with pytest.raises(ValueError, match="GATE is 'skipp'; wanted one of skip, decoder"):
        tiny("Attention_U_Net_2D", GATE="skipp")


def dropout_rates(model):
    return [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)]


def test_dropout_of_the_residual_network_goes_by_level_and_on_request_the_other_way_round():
    options = TINY | {"drop_values": (0.1, 0.2, 0.3)}
    level = ResUNet_2D((None, None, 1), **options)
    published = ResUNet_2D((None, None, 1), **options, drop_order="published")
    assert dropout_rates(level) == [0.1, 0.2, 0.3, 0.2, 0.1]
    assert dropout_rates(published) == [0.3, 0.2, 0.1, 0.2, 0.3]
    with pytest.raises(ValueError, match="DROP_ORDER is 'up'; wanted one of level, published"):
        ResUNet_2D((None, None, 1), **options, drop_order="up")


def test_the_residual_network_takes_any_activation():
    # The published one had none at all unless it was elu.
    outputs = []
    for activation in ("relu", "linear"):
        keras.utils.set_random_seed(1)
        outputs.append(tiny("ResUNet_2D", ACTIVATION=activation).predict_on_batch(batch("ResUNet_2D")))
    assert np.abs(outputs[0] - outputs[1]).max() > 1e-3


@pytest.mark.parametrize("builder", [ResUNet_2D, Attention_U_Net_2D, SE_U_Net_2D])
def test_sizes_that_the_poolings_do_not_divide_are_refused_in_2d(builder):
    with pytest.raises(ValueError, match=r"image_shape \(30, 32, 1\): 30 is not divisible by 4"):
        builder((30, 32, 1), **TINY)


def test_wrong_numbers_of_levels_are_refused():
    with pytest.raises(ValueError, match=r"FEATURE_MAPS holds 3 values \(1, 2, 3\); DEPTH 3 needs 5"):
        Vanilla_U_Net_3D((None, None, None, 1), feature_maps=(1, 2, 3))
    with pytest.raises(ValueError, match="Z_DOWN is"):
        SE_U_Net_3D((None, None, None, 1), z_down=(1, 2))
