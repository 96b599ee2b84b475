"""Tests of what all builders ask of their arguments."""

import pytest

from networks.attention_unet import Attention_U_Net_2D, Attention_U_Net_3D
from networks.fcn import FCN8_VGG16, FCN32_VGG16
from networks.mnet import MNet
from networks.multiresunet import MultiResUNet
from networks.nnunet import nnUNet_2D
from networks.residual_unet import ResUNet_2D, ResUNet_3D
from networks.se_unet import SE_U_Net_2D, SE_U_Net_3D
from networks.tiramisu import FC_DenseNet103
from networks.unet import U_Net_2D, U_Net_3D
from networks.unet_plus_plus import U_Net_plus_plus_2D
from networks.vanilla_unet import Vanilla_U_Net_3D

BUILDERS_2D = [U_Net_2D, ResUNet_2D, Attention_U_Net_2D, SE_U_Net_2D, FCN8_VGG16, FCN32_VGG16, MNet, MultiResUNet]
BUILDERS_2D += [FC_DenseNet103, U_Net_plus_plus_2D, nnUNet_2D]
BUILDERS_3D = [U_Net_3D, ResUNet_3D, Attention_U_Net_3D, SE_U_Net_3D, Vanilla_U_Net_3D]


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
