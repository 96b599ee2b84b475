"""Save, measure and score the instances of a run in one call, as ``Run.evaluate`` does with probabilities."""

import numpy as np

from utils.files import write_csv
from utils.images.writing import ImageWriter, SavedImages
from utils.metrics.components import connected_components, without_channel
from utils.metrics.instances import det_measure, instance_scores
from utils.metrics.measurements import measure_instances
from utils.post_processing.instances import instances_from_probability


def evaluate_instances(run, images, labels, *, voxel_size_nm=None, protocol="per_image", post="instances"):
    """Save instance labels, measure each instance, and score them against the objects of the masks.

    Writes ``images/<protocol>/<post>/labels/<original name>.tif``, int32, and a table of all instances, ``<post>.csv``,
    beside ``scores.csv``, which gets the scores. True instances are the connected components of the masks. Without
    ground truth it only saves and measures.

    Parameters
    ----------
    run : Run
        Gets the files and scores.
    images : ImageSet
        What was predicted; gives names and truth.
    labels : iterable of numpy.ndarray
        Instance labels ``(y, x, 1)`` or ``(z, y, x, 1)``, integers, one for each of ``images``; read once.
    voxel_size_nm : float, sequence of float or None
        As `utils.metrics.measurements.measure_instances`; None if it is not known.
    protocol, post : str
        Where the labels come from, as in `Run.evaluate`.

    Returns
    -------
    SavedImages
        The labels, read back from disk one by one.

    Raises
    ------
    ValueError
        If there are not as many labels as images, or they differ in size.
    """
    folder = run.images / protocol / post / "labels"
    rows, count = [], 0
    with ImageWriter([folder], images.names) as writer:
        for count, found in enumerate(labels, start=1):
            if count > len(images) or found.shape[:-1] != images.x[count - 1].shape[:-1]:
                raise ValueError(f"{post}: labels {count} do not belong to the {len(images)} images.")
            name = images.names[count - 1].file
            rows += [{"image": name} | row for row in measure_instances(found, voxel_size_nm=voxel_size_nm)]
            for _, place in images.pieces(count - 1):
                writer.write(np.asarray(found[place], np.int32))
    if count != len(images):
        raise ValueError(f"{post}: labels of {count} images for {len(images)}. Give those of each image.")
    table = run.folder / f"{post}.csv"
    write_csv(table, rows)
    saved = SavedImages(folder, images.names)
    print(f"{len(rows)} instances in {len(images)} images or volumes, measured in {table}")
    if images.y is not None:
        scores = instance_scores(_true_instances(images), saved) | det_measure(_true_instances(images), saved)
        run.add_scores(protocol, post, scores, n=len(images))
    return saved


def label_instances(
    probabilities,
    *,
    channels=None,
    targets=("binary",),
    min_distance_nm=0.0,
    min_distance_share=0.0,
    voxel_size_nm=None,
    min_voxels=0,
):
    """Part the foreground of predictions into instances, with the contours and distances that a network predicts.

    Parameters
    ----------
    probabilities : iterable of numpy.ndarray
        Of the foreground, ``(y, x, c)`` or ``(z, y, x, c)``, also post-processed ones: pixels that they leave out
        belong to no instance.
    channels : iterable of numpy.ndarray, optional
        For each of them the prediction of a network that learned instance targets, with a channel for each target.
    targets : sequence of str
        Names of the channels, as `learn_instances`; contours are used if they are among them.
    min_distance_nm : float
        Pixels farther from the background, measured in the foreground, are surely inside an instance.
    min_distance_share : float
        Above 0: a limit on the predicted distance instead, which is 1 in the middle of each instance.
    voxel_size_nm, min_voxels
        As `utils.post_processing.instances.instances_from_probability`; None counts distances in voxels.

    Yields
    ------
    numpy.ndarray
        As `utils.post_processing.instances.instances_from_probability`.

    Raises
    ------
    ValueError
        If a share is given without predicted distances, or as `instances_from_probability`.

    Examples
    --------
    >>> foreground = np.ones((1, 7, 1), np.float32)
    >>> contour = np.array([[0, 0, 0, 1, 0, 0, 0]], np.float32)[..., np.newaxis]
    >>> predicted = [np.concatenate([foreground, contour], axis=-1)]
    >>> [labels] = label_instances([foreground], channels=predicted, targets=("binary", "contour"))
    >>> labels[..., 0].tolist()
    [[1, 1, 1, 2, 2, 2, 2]]
    """
    if min_distance_share and (channels is None or "distance" not in targets):
        raise ValueError(
            f"a share of {min_distance_share} of the predicted distance was given, but no distance is predicted. "
            "Learn 'distance', or use a distance in nanometres."
        )
    limits = {"min_distance": min_distance_share or min_distance_nm, "min_voxels": min_voxels}
    limits |= {"voxel_size_nm": voxel_size_nm or 1.0}
    used = ("contour", "distance") if min_distance_share else ("contour",)
    used = () if channels is None else [name for name in used if name in targets]
    pairs = ((one, None) for one in probabilities) if channels is None else zip(probabilities, channels, strict=True)
    for probability, found in pairs:
        parts = {name: found[..., [targets.index(name)]] for name in used}
        yield instances_from_probability(probability, **parts, **limits)


def _true_instances(images):
    for mask in images.y:
        yield connected_components(without_channel(mask) > 0)[..., np.newaxis]
