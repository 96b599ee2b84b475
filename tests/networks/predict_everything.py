"""Build every network small, save or load its weights, and predict one input: run once on each backend.

    python predict_everything.py FOLDER save|load

``save`` writes ``<name>.weights.h5`` with random weights and ``<name>.<backend>.npy``; ``load`` reads the weights.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import keras
import numpy as np
from toy_pages import n_axes, pages_of_networks, toy_settings

from study.page_network import build_network

SIZES = {2: (64, 32), 3: (5, 9, 12)}
OPTIONS = {"BATCH_NORM": True, "ACTIVATION": "elu", "Z_DOWN": (1, 2), "DEEP_SUPERVISION": False}
OPTIONS |= {"K_INIT": "zeros"}  # all weights are replaced


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
    for (_, name), page in pages_of_networks().items():
        image = np.random.default_rng(1).random((2, *SIZES[n_axes(page)], 1)).astype(np.float32)
        model, _ = build_network(page, **toy_settings(page) | OPTIONS)
        weights = folder / f"{name}.weights.h5"
        if action == "save":
            randomise(model, rng)
            model.save_weights(weights)
        else:
            model.load_weights(weights)
        np.save(folder / f"{name}.{keras.backend.backend()}.npy", model.predict_on_batch(image))


if __name__ == "__main__":
    main(*sys.argv[1:])
