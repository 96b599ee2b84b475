"""Looking into a network: where a class comes from (Grad-CAM), kernels and feature maps of a layer, and their pictures.

Layers have the names of the network's summary; those of a network inside the network cannot be shown.
"""

from pathlib import Path

import keras
import numpy as np
from keras import ops
from scipy import ndimage

from utils.devices import gradient
from utils.errors import check_choice, did_you_mean, raise_problems
from utils.images.intensity import to_network_input, to_unit_range
from utils.pictures.charts import middle_slice
from utils.pictures.figures import new_figure, save_figure

# Probabilities closer to 0 or 1 have log odds that float32 does not resolve.
CLIP = 1e-6
# Feature maps or kernels in a picture.
MOST_PICTURES = 64


def grad_cam(model, image, *, layer, class_index=1, intensity_range=None):
    """Show which places of a layer speak for a class (Grad-CAM, Selvaraju et al. 2017, arXiv 1610.02391, eq. 1 and 2).

    With the feature maps A_k of the layer and the score s of the class: map = ReLU(sum_k mean(ds / dA_k) A_k), enlarged
    linearly to the image and divided by its maximum. For a segmentation the score is the sum over pixels (Vinogradova
    et al. 2020, arXiv 2002.11434, eq. 1) of the log odds of the class, log p - log(1 - p), which for a sigmoid is its
    input.

    Parameters
    ----------
    model, image, intensity_range
        As `feature_maps`.
    layer : str
        Name of the layer, e.g. the last convolution of the bottleneck.
    class_index : int
        The class; in a network with one channel 0 is background and 1 foreground.

    Returns
    -------
    numpy.ndarray
        ``(y, x)`` or ``(z, y, x)``, float32, 0 .. 1; all 0 where nothing speaks for the class.

    Raises
    ------
    ValueError
        If the layer or class does not exist, or the layer has no feature maps or is the first or the last.

    Examples
    --------
    >>> inputs = keras.Input((None, None, 1))
    >>> x = keras.layers.Conv2D(2, 3, padding="same", name="first")(inputs)
    >>> model = keras.Model(inputs, keras.layers.Conv2D(1, 1, activation="sigmoid")(x))
    >>> grad_cam(model, np.zeros((16, 24, 1), np.uint8), layer="first").shape
    (16, 24)
    """
    shape, features = image.shape[:-1], _maps_before_the_end(model, layer, class_index)
    maps = feature_maps(model, image, layer=layer, intensity_range=intensity_range)
    # The second part of the network: from the layer, and from the image for skips that bypass it.
    behind = keras.Model([model.inputs[0], features], model.outputs[0])
    batch = ops.convert_to_tensor(to_network_input(image, intensity_range)[np.newaxis])

    def score(maps):
        probability = ops.clip(ops.cast(behind([batch, maps], training=False), "float32"), CLIP, 1 - CLIP)
        odds = ops.log(probability) - ops.log(1 - probability)
        odds = -odds[..., 0] if (odds.shape[-1], class_index) == (1, 0) else odds[..., class_index % odds.shape[-1]]
        return ops.sum(odds)

    slopes = gradient(score, maps[np.newaxis])[0]
    weights = slopes.mean(axis=tuple(range(slopes.ndim - 1)))
    found = np.maximum(maps @ weights, 0)
    factors = [size / small for size, small in zip(shape, found.shape, strict=True)]
    enlarged = ndimage.zoom(found, factors, order=1, mode="nearest", grid_mode=True)
    return enlarged / (enlarged.max() or 1)


def _maps_before_the_end(model, layer, class_index):
    """Return the symbolic output of a layer that Grad-CAM can be computed for, and refuse any other."""
    n_classes = max(2, model.outputs[0].shape[-1])
    if not 0 <= class_index < n_classes:
        raise ValueError(f"class {class_index} does not exist: the network has the classes 0 to {n_classes - 1}.")
    features = _maps_of(model, layer)
    if features is model.inputs[0] or features is model.outputs[0]:
        raise ValueError(f"LAYER {layer!r} is the beginning or the end of the network; choose one between.")
    return features


def check_layers(model, *, grad_cam_layer=None, grad_cam_class=1, feature_maps_layer=None, kernels_layer=None):
    """Check the layers to be drawn long before the network is trained; None is not drawn.

    Parameters
    ----------
    model : keras.Model
        The network.
    grad_cam_layer, grad_cam_class
        As ``layer`` and ``class_index`` of `grad_cam`.
    feature_maps_layer, kernels_layer
        As ``layer`` of `feature_maps` and `kernels`.

    Raises
    ------
    ValueError
        With everything that `grad_cam`, `feature_maps` and `kernels` would refuse.
    """
    looks = {
        ("GRAD_CAM_LAYER", grad_cam_layer): lambda layer: _maps_before_the_end(model, layer, grad_cam_class),
        ("FEATURE_MAPS_LAYER", feature_maps_layer): lambda layer: _maps_of(model, layer),
        ("KERNELS_LAYER", kernels_layer): lambda layer: kernels(model, layer),
    }
    problems = []
    for (name, layer), look in looks.items():
        try:
            if layer is not None:
                look(layer)
        except ValueError as error:
            problems.append(f"{name}: {str(error).removesuffix('.')}")
    raise_problems("looking inside", problems)


def look_inside(
    folder,
    model,
    image,
    *,
    grad_cam_layer=None,
    grad_cam_class=1,
    feature_maps_layer=None,
    kernels_layer=None,
    intensity_range=None,
):
    """Draw Grad-CAM, feature maps and kernels: each if a layer is named for it.

    Parameters
    ----------
    folder : str or Path
        Gets ``grad_cam.png``, ``feature_maps.png`` and ``kernels.png``.
    model, image, intensity_range
        As `feature_maps`.
    grad_cam_layer, grad_cam_class, feature_maps_layer, kernels_layer
        As `check_layers`.
    """
    folder, grey = Path(folder), {"intensity_range": intensity_range}
    if grad_cam_layer is not None:
        found = grad_cam(model, image, layer=grad_cam_layer, class_index=grad_cam_class, **grey)
        draw_grad_cam(folder / "grad_cam.png", image, found, title=f"{grad_cam_layer}, class {grad_cam_class}", **grey)
    if feature_maps_layer is not None:
        maps = feature_maps(model, image, layer=feature_maps_layer, **grey)
        draw_feature_maps(folder / "feature_maps.png", maps, title=feature_maps_layer)
    if kernels_layer is not None:
        draw_kernels(folder / "kernels.png", kernels(model, kernels_layer), title=kernels_layer)


def feature_maps(model, image, *, layer, intensity_range=None):
    """Return the feature maps of an image in a layer.

    Parameters
    ----------
    model : keras.Model
        Functional; the first of several outputs counts.
    image : numpy.ndarray
        ``(y, x, c)`` or ``(z, y, x, c)``, sizes that the network's poolings divide.
    layer : str
        Name of the layer.
    intensity_range : tuple of float, optional
        As ``to_network_input``.

    Returns
    -------
    numpy.ndarray
        ``(y, x, maps)`` or ``(z, y, x, maps)``, float32, at the size of the layer.

    Raises
    ------
    ValueError
        If the layer does not exist or has no feature maps.

    Examples
    --------
    >>> inputs = keras.Input((None, None, 1))
    >>> model = keras.Model(inputs, keras.layers.MaxPooling2D(name="pooling")(inputs))
    >>> feature_maps(model, np.array([[[0], [255]], [[51], [0]]], np.uint8), layer="pooling").tolist()
    [[[1.0]]]
    """
    front = keras.Model(model.inputs[0], _maps_of(model, layer))
    maps = front(to_network_input(image, intensity_range)[np.newaxis], training=False)
    return np.array(ops.convert_to_numpy(ops.cast(maps, "float32")))[0]


def _maps_of(model, layer):
    """Return the symbolic output of a layer."""
    check_choice("LAYER", layer, tuple(entry.name for entry in model.layers))
    output = model.get_layer(layer).output
    if not hasattr(output, "shape") or len(output.shape) != len(model.inputs[0].shape):
        raise ValueError(f"LAYER {layer!r} has no feature maps; choose a convolution, an activation or a pooling.")
    return output


def kernels(model, layer):
    """Return the kernels of a convolution.

    Parameters
    ----------
    model : keras.Model
        The network.
    layer : str
        Name of a convolution, also a transposed one.

    Returns
    -------
    numpy.ndarray
        ``(y, x, input maps, output maps)`` or ``(z, y, x, input maps, output maps)``, float32.

    Raises
    ------
    ValueError
        If there is no such convolution.
    """
    found = {entry.name: entry for entry in model.layers if len(getattr(entry, "kernel", np.zeros(())).shape) > 3}
    if layer not in found:
        suggestion = did_you_mean(layer, found) or "."
        raise ValueError(f"LAYER {layer!r} is no convolution of the network{suggestion} Use one of {list(found)}.")
    kernel = np.array(ops.convert_to_numpy(found[layer].kernel.value), np.float32)
    return np.swapaxes(kernel, -1, -2) if "Transpose" in type(found[layer]).__name__ else kernel


def draw_grad_cam(path, image, found, *, title="", intensity_range=None):
    """Draw an image beside the same image under its Grad-CAM map; of volumes the middle slice.

    Parameters
    ----------
    path : str or Path
        The png file.
    image, intensity_range
        As `feature_maps`.
    found : numpy.ndarray
        From `grad_cam`.
    title : str
        Above the map, e.g. the layer and the class.
    """
    grey = to_unit_range(middle_slice(image), intensity_range)
    grey = grey[..., 0] if grey.shape[-1] == 1 else grey
    shown = middle_slice(found[..., np.newaxis])[..., 0]
    figure, panels = new_figure(1, 2, width=5, height=5 * shown.shape[0] / shown.shape[1] + 0.5)
    for panel in panels[0]:
        panel.imshow(grey, cmap="gray", vmin=0, vmax=1)
        panel.axis("off")
    tinted = panels[0][1].imshow(shown, cmap="jet", vmin=0, vmax=1, alpha=0.5)
    panels[0][1].set_title(title, fontsize=9)
    figure.colorbar(tinted, ax=panels[0].tolist(), shrink=0.8, label="speaks for the class")
    save_figure(figure, path)


def draw_feature_maps(path, maps, *, title=""):
    """Draw up to 64 feature maps, each from its minimum in black to its maximum in white; of volumes the middle slice.

    Parameters
    ----------
    path : str or Path
        The png file.
    maps : numpy.ndarray
        From `feature_maps`.
    title : str
        Above the picture, e.g. the layer.
    """
    shown = middle_slice(maps)
    pictures = [shown[..., number] for number in range(min(MOST_PICTURES, shown.shape[-1]))]
    limits = [{"vmin": picture.min(), "vmax": picture.max()} for picture in pictures]
    _draw_grid(path, pictures, limits, f"{title} ({len(pictures)} of {shown.shape[-1]} feature maps)", "gray")


def draw_kernels(path, found, *, title=""):
    """Draw up to 64 kernels for the first input map, negative in blue, positive in red; in 3D the middle slice.

    Parameters
    ----------
    path : str or Path
        The png file.
    found : numpy.ndarray
        From `kernels`.
    title : str
        Above the picture, e.g. the layer.
    """
    shown = middle_slice(found[..., 0, :])
    pictures = [shown[..., number] for number in range(min(MOST_PICTURES, shown.shape[-1]))]
    largest = np.abs(shown).max()
    text = f"{title} ({len(pictures)} of {shown.shape[-1]} kernels, input map 0 of {found.shape[-2]})"
    _draw_grid(path, pictures, [{"vmin": -largest, "vmax": largest}] * len(pictures), text, "RdBu_r")


def _draw_grid(path, pictures, limits, title, colours):
    columns = min(8, len(pictures))
    height = 1.5 * pictures[0].shape[0] / pictures[0].shape[1] + 0.2
    figure, panels = new_figure(-(-len(pictures) // columns), columns, width=1.5, height=height)
    for panel in panels.flat:
        panel.axis("off")
    for number, (panel, picture, limit) in enumerate(zip(panels.flat, pictures, limits, strict=False)):
        panel.imshow(picture, cmap=colours, **limit)
        panel.set_title(number, fontsize=7)
    figure.suptitle(title, fontsize=9)
    save_figure(figure, path)
