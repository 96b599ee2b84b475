"""Build every network small, save or load its weights, and predict one input: run once on each backend.

    python predict_everything.py FOLDER save|load

``save`` writes ``<name>.weights.h5`` with random weights and ``<name>.<backend>.npy``; ``load`` reads the weights.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import keras
import numpy as np

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

LEVELS = {"feature_maps": (4, 5, 6), "depth": 2}
DROPS = LEVELS | {"drop_values": (0.1, 0.1, 0.1), "batch_norm": True}
FCN = {"feature_maps": (2, 2, 4, 4, 4), "fully_connected": 8}
NETWORKS_2D = [
    (U_Net_2D, DROPS),
    (ResUNet_2D, DROPS),
    (Attention_U_Net_2D, DROPS | {"n_classes": 3}),
    (SE_U_Net_2D, DROPS),
    (FCN8_VGG16, FCN),
    (FCN32_VGG16, FCN),
    (MultiResUNet, LEVELS),
    (MNet, LEVELS),
    (FC_DenseNet103, {"n_filters_first_conv": 4, "n_pool": 2, "growth_rate": 2, "n_layers_per_block": (1, 2, 2, 2, 1)}),
    (nnUNet_2D, {"feature_maps": 4, "strides": ((2, 2), (1, 2))}),
    (U_Net_plus_plus_2D, {"feature_maps": (4, 4, 4, 4, 4), "activation": "elu"}),
]
NETWORKS_3D = [(ResUNet_3D, DROPS), (Attention_U_Net_3D, DROPS), (SE_U_Net_3D, DROPS), (U_Net_3D, DROPS)]
NETWORKS_3D += [(Vanilla_U_Net_3D, {"feature_maps": (3, 4, 5, 6), "depth": 2, "z_down": (1, 2)})]


def randomise(model, rng):
    """Give every weight a random value, normalisation included."""
    for weight in model.weights:
        if "seed" in weight.path:
            continue
        scale = 1.0 if len(weight.shape) < 2 else np.sqrt(2 / np.prod(weight.shape[:-1]))
        values = rng.normal(0, scale, weight.shape)
        weight.assign(np.abs(values) + 0.5 if "variance" in weight.path else values)


def main(folder, action):
    """Save or load, and predict."""
    folder, rng = Path(folder), np.random.default_rng(0)
    for networks, size in ((NETWORKS_2D, (64, 32)), (NETWORKS_3D, (5, 9, 12))):
        image = np.random.default_rng(1).random((2, *size, 1)).astype(np.float32)
        for builder, options in networks:
            model = builder((*(None,) * len(size), 1), **options, k_init="zeros")  # all weights are replaced
            weights = folder / f"{builder.__name__}.weights.h5"
            if action == "save":
                randomise(model, rng)
                model.save_weights(weights)
            else:
                model.load_weights(weights)
            np.save(folder / f"{builder.__name__}.{keras.backend.backend()}.npy", model.predict_on_batch(image))


if __name__ == "__main__":
    main(*sys.argv[1:])
