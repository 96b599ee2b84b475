"""Tests of what all builders ask of their arguments."""

import pytest
from toy_pages import builders

from networks.unet import U_Net_2D

BUILDERS_2D, BUILDERS_3D = builders(2), builders(3)


@pytest.mark.parametrize("builder", BUILDERS_2D)
@pytest.mark.parametrize("shape", [(8, 64, 64, 1), (64, 64), (64, 64, None), (64.0, 64, 1), (0, 64, 1), 64, None])
def test_shapes_of_other_axes_are_refused_in_2d(builder, shape):
    with pytest.raises(ValueError, match=r"image_shape is .*; wanted \(y, x, channels\), whole numbers above 0"):
        builder(shape)


@pytest.mark.parametrize("builder", BUILDERS_3D)
@pytest.mark.parametrize("shape", [(None, None, 1), (8, 64, 64), (8, 64, 64, 0)])
def test_shapes_of_other_axes_are_refused_in_3d(builder, shape):
    with pytest.raises(ValueError, match=r"image_shape is .*; wanted \(z, y, x, channels\), whole numbers above 0"):
        builder(shape)


@pytest.mark.parametrize("builder", BUILDERS_3D)
@pytest.mark.parametrize("z_down", [2.0, 3, (2, 2), (2, 2.0, 2), None, "222"])
def test_factors_along_z_are_refused(builder, z_down):
    with pytest.raises(ValueError, match="Z_DOWN is .*; wanted 1 or 2 for all . poolings, or one of them for each"):
        builder((None, None, None, 1), z_down=z_down)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 4.0}, "DEPTH is 4.0; wanted a whole number of at least 1"),
        ({"depth": 0}, "DEPTH is 0; wanted a whole number of at least 1"),
        ({"feature_maps": 16}, "FEATURE_MAPS is 16; DEPTH 4 needs 5 values"),
    ],
)
def test_levels_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        U_Net_2D((None, None, 1), **options)
