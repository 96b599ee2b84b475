import keras
import numpy as np
import pytest

from utils import devices


@pytest.fixture
def keep_policy():
    before = keras.mixed_precision.global_policy()
    yield
    keras.mixed_precision.set_global_policy(before)


@pytest.mark.parametrize(("supported", "policy"), [(True, "mixed_bfloat16"), (False, "float32")])
def test_auto_takes_bfloat16_where_the_hardware_has_it(monkeypatch, keep_policy, supported, policy):
    monkeypatch.setattr(devices, "has_bfloat16", lambda: supported)
    assert devices.set_precision("auto") == policy
    assert keras.mixed_precision.global_policy().name == policy


def test_volumes_train_in_float32_on_a_tensorflow_cpu(monkeypatch, keep_policy):
    monkeypatch.setattr(devices, "has_bfloat16", lambda: True)
    monkeypatch.setattr(devices, "_trains_on_tensorflow_cpu", lambda: True)
    assert devices.set_precision("auto", volumes=True) == "float32"
    for precision in ("mixed_bfloat16", "mixed_float16"):
        with pytest.raises(ValueError, match=f"--precision {precision} gives wrong.*Use auto"):
            devices.set_precision(precision, volumes=True)
    assert keras.mixed_precision.global_policy().name == "float32"


def test_volumes_train_in_bfloat16_elsewhere(monkeypatch, keep_policy):
    monkeypatch.setattr(devices, "has_bfloat16", lambda: True)
    monkeypatch.setattr(devices, "_trains_on_tensorflow_cpu", lambda: False)
    assert devices.set_precision("auto", volumes=True) == "mixed_bfloat16"


def test_a_stated_precision_is_set(keep_policy):
    assert devices.set_precision("mixed_float16") == "mixed_float16"


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="--precision 'bfloat16' is not known; did you mean 'mixed_bfloat16'"):
        devices.set_precision("bfloat16")


def test_the_device_is_described_and_xla_is_off_on_a_tensorflow_cpu():
    assert devices.describe_device()
    if keras.backend.backend() == "tensorflow" and devices.describe_device().startswith("CPU"):
        assert devices.use_jit() is False


def test_the_gradient_of_a_function_is_computed_on_every_backend():
    x = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    found = devices.gradient(lambda tensor: keras.ops.sum(keras.ops.sin(tensor) * tensor), x)
    np.testing.assert_allclose(found, np.cos(x) * x + np.sin(x), rtol=1e-5)


def test_the_gradient_is_zero_where_the_function_does_not_depend_on_it():
    weight = keras.Variable([2.0])
    found = devices.gradient(lambda tensor: keras.ops.sum(weight.value), np.ones(3, np.float32))
    assert found.tolist() == [0, 0, 0]


def test_a_gpu_that_the_driver_lists_and_the_backend_does_not_see_is_an_error(monkeypatch):
    devices.check_gpus()
    monkeypatch.setattr("utils.devices.requested_gpus", lambda: ["0"])
    monkeypatch.setattr("utils.devices._gpus", list)
    with pytest.raises(ValueError, match=r"--gpu 0: the driver lists .* pip install 'tensorflow.and-cuda.'"):
        devices.check_gpus()
    monkeypatch.setattr("utils.devices._gpus", lambda: ["GPU"])
    devices.check_gpus()
