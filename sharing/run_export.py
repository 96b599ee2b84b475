"""Export the network of a finished run as a folder for other programs: the formats, what they need, and a test."""

import json
import tempfile
from pathlib import Path

import keras
import numpy as np
from scipy import ndimage

from sharing.formats import FORMATS, format_problems
from sharing.model_export import own_modules, plain_network, write_checked
from sharing.network_description import DESCRIPTION_NAME, README_NAME, describe_run, readme
from utils.data.image_set import ImageSet
from utils.errors import raise_problems
from utils.files import atomic_folder, check_free, why_not_there, write_text
from utils.images.intensity import black_and_white, to_network_input
from utils.images.normalisation import stretch_each
from utils.images.padding import pad_to
from utils.images.reading import read_images
from utils.prediction.predictor import load_predictor
from utils.runs.record import RunRecord

TEST_INPUT, TEST_OUTPUT = "test_input.npy", "test_output.npy"


def export_run(run, target, formats, *, image=None, dataset=None, **about):
    """Write the network of a run into a new folder, in formats that are checked to predict as the run does.

    If one of them fails, nothing is left behind.

    Parameters
    ----------
    run : str or Path
        As `utils.runs.record.RunRecord`.
    target : str or Path
        The folder to make.
    formats : sequence of str
        ``keras``, ``savedmodel``, ``onnx``, ``bioimageio``.
    image, dataset : str or Path, optional
        As `read_test_image`; the test image is exported too. Without it smooth noise.
    **about
        ``name``, ``description``, ``authors``, ``license`` of `describe_run`.

    Returns
    -------
    list of str
        What was written and checked, a line each.

    Raises
    ------
    ValueError
        With all problems, or if a written file predicts something else than the run.
    """
    formats = list(dict.fromkeys(formats))
    problems = format_problems(formats, backend=keras.backend.backend())
    check_free(target)
    predictor = load_predictor(run, precision="float32")
    description = describe_run(run, strides=predictor.divisor, **about)
    if "bioimageio" in formats and not problems:
        from sharing.bioimageio_package import description_problems

        problems += description_problems(description)
    raise_problems("the export", problems)
    model = plain_network(predictor.model)
    content = RunRecord(run).network()
    test = read_test_image(image, predictor, content, dataset=dataset) if image else make_test_image(content)
    inputs = _check_inputs(network_input(test, content), model, predictor.divisor)
    with atomic_folder(target) as folder, tempfile.TemporaryDirectory() as scratch:
        found, lines, modules = {}, [], own_modules(model)
        files = {FORMATS[name].file: FORMATS[name].what + _imports(name, modules) for name in formats}
        files |= {
            TEST_INPUT: "an image in stored grey values, to test with",
            TEST_OUTPUT: "what the network predicts of it",
        }
        np.save(folder / TEST_INPUT, test[np.newaxis])
        np.save(folder / TEST_OUTPUT, np.asarray(model.predict_on_batch(inputs[0]), np.float32))
        for name in ("keras", "savedmodel", "onnx"):
            if name in formats or (name != "savedmodel" and "bioimageio" in formats):
                found[name] = (folder if name in formats else Path(scratch)) / FORMATS[name].file
                difference = write_checked(model, found[name], format=name, inputs=inputs)
                lines.append(f"{found[name].name}, read back, predicts the same (differs by {difference:.1g} at most).")
        write_text(folder / README_NAME, readme(description, files))
        text = json.dumps(description, indent=2, ensure_ascii=False) + "\n"
        write_text(folder / DESCRIPTION_NAME, text)
        if "bioimageio" in formats:
            from sharing.bioimageio_package import write_package

            checks = write_package(
                folder / FORMATS["bioimageio"].file,
                description,
                weights=found,
                tensors=(folder / TEST_INPUT, folder / TEST_OUTPUT),
                documentation=folder / README_NAME,
                keras_is_plain=not modules,
                sides=model.inputs[0].shape[1:-1],
            )
            lines.append(f"bioimageio.zip is accepted by bioimage.io's own libraries: {len(checks)} checks passed.")
    return lines


def make_test_image(content):
    """Make an image of smooth noise to test a network with, always the same.

    Parameters
    ----------
    content : dict
        From `utils.runs.record.RunRecord.network`.

    Returns
    -------
    numpy.ndarray
        ``(y, x, c)`` or ``(z, y, x, c)``, of the size of a crop, from black to white, as stored.
    """
    shape, dtype = tuple(content["crop_shape"]), np.dtype(content["dtype"] or "uint8")
    noise = ndimage.gaussian_filter(np.random.default_rng(0).random(shape), [2.0] * (len(shape) - 1) + [0])
    low, high = black_and_white(dtype, content["intensity_range"])
    noise = low + (high - low) * (noise - noise.min()) / np.ptp(noise)
    return (np.rint(noise) if dtype.kind in "iu" else noise).astype(dtype)


def read_test_image(path, predictor, content, *, dataset=None):
    """Read the middle of an image, as large as a crop, to test a network with.

    Parameters
    ----------
    path : str or Path
        An image file; for a network in 3D a file of several slices.
    predictor : Predictor
        Says whether it can predict the image.
    content : dict
        As `make_test_image`.
    dataset : str, optional
        Name of the array in an hdf5 or zarr file that holds several.

    Returns
    -------
    numpy.ndarray
        As `make_test_image`; small images are mirrored outwards.

    Raises
    ------
    ValueError
        If it cannot be read, or differs in kind from the training images.
    """
    path, crop = Path(path), tuple(content["crop_shape"])
    if not path.exists():
        raise ValueError(f"--image {why_not_there(path)}.")
    wanted = {"keep_colour": crop[-1] == 3, "channels": crop[-1], "one_volume": predictor.is_3d}
    pages = read_images(path, dataset=dataset, **wanted)
    image = np.stack(pages) if predictor.is_3d else pages[0]
    wanted = content["dtype"] or "uint8"
    problem = predictor.problem(image)
    if str(image.dtype) != wanted:
        problem = f"has the dtype {image.dtype}, the training images had {wanted}; give one of these"
    raise_problems(f"--image {path.name}", [problem] if problem else [])
    image, _ = pad_to(image, crop)
    starts = [(have - want) // 2 for have, want in zip(image.shape, crop, strict=True)]
    return image[tuple(slice(start, start + want) for start, want in zip(starts, crop, strict=True))]


def network_input(image, content):
    """Turn stored grey values into the input of a network, as the steps of its description do.

    Percentiles of each image are applied to floats, whereas the run rounds to its integers in between.

    Parameters
    ----------
    image : numpy.ndarray
        ``(y, x, c)`` or ``(z, y, x, c)``, as stored.
    content : dict
        As `make_test_image`.

    Returns
    -------
    numpy.ndarray
        float32, same shape.
    """
    if content["normalisation"] != "percentile_per_image":
        return to_network_input(image, content["intensity_range"])
    one = ImageSet([image.astype(np.float32)], None, [None], ())
    return stretch_each(one, content["normalisation"], percentiles=tuple(content["percentiles"])).x[0]


def _check_inputs(image, model, strides):
    """Return the test image, and two larger images if the network takes any size, as batches."""
    grown = [(0, step if side is None else 0) for side, step in zip(model.inputs[0].shape[1:-1], strides, strict=True)]
    larger = np.pad(image, [*grown, (0, 0)], "symmetric")
    return [image[np.newaxis], np.stack([larger, larger[..., ::-1, :]])]


def _imports(name, modules):
    """Say what a reader of ``.keras`` must import, if anything."""
    if name != "keras" or not modules:
        return ""
    return f"; with this repository on the path, after import {', '.join(modules)}"
