"""The protocols of the study, one after another, as U-Net_2D_template.py and U-Net_3D_template.py spell them out."""

from utils.post_processing.z_filter import z_filter
from utils.prediction.full_volumes import full_volumes_fit
from utils.prediction.protocols import predict_blended, predict_crops, predict_each, predict_full_images


def evaluate_images(
    run,
    model,
    data,
    crop_shape,
    *,
    divisor,
    overlap=0.0,
    z_filter_size=0,
    ensemble=True,
    batch_size=6,
    intensity_range=None,
):
    """Predict, post-process and score the test images under all 2D protocols of the study.

    Per crop; merged and blended into complete images, each also behind the z-filter; with 50 % overlap, with the
    ensemble of 8 orientations, and that behind the z-filter; the same three on full images.

    Parameters
    ----------
    run : Run
        Scores, prints and saves each prediction.
    model : keras.Model
        Trained, fully convolutional.
    data : ExperimentData
        Its ``test`` and ``test_crops`` are read.
    crop_shape : tuple of int
        ``(y, x, c)``.
    divisor : int or tuple of int
        What the network's poolings divide, for full images.
    overlap : float or tuple of float
        Minimum overlap of neighbouring crops in the merged prediction.
    z_filter_size : int
        Slices in the median along z; 0 leaves the z-filter out.
    ensemble : bool
        False leaves all stages with the ensemble out.
    batch_size : int
        Crops per call.
    intensity_range : tuple of float, optional
        As `utils.images.intensity.to_unit_range`.

    Returns
    -------
    dict of (str, str) to SavedImages
        The probabilities by protocol and post-processing, for what comes next.
    """
    test, saved = data.test, _Saved(run, data.test)
    batches = {"batch_size": batch_size, "intensity_range": intensity_range}
    _evaluate_crops(run, model, data, batches)

    merged = saved.evaluate("per_image", predict_crops(model, test.x, crop_shape, overlap=overlap, **batches))
    blended = saved.evaluate("per_image", predict_blended(model, test.x, crop_shape, **batches), "blending")
    if z_filter_size:
        saved.evaluate("per_image", z_filter(merged, z_filter_size), "z_filter")
        saved.evaluate("per_image", z_filter(blended, z_filter_size), "blending_z_filter")

    half = {"crop_shape": crop_shape, "overlap": 0.5, **batches}
    saved.evaluate("overlap_50", predict_crops(model, test.x, **half))
    if ensemble:
        saved.evaluate_ensemble("overlap_50", predict_crops(model, test.x, ensemble=True, **half), z_filter_size)

    full = {"divisor": divisor, "intensity_range": intensity_range}
    saved.evaluate("full_image", predict_full_images(model, test.x, **full))
    if ensemble:
        saved.evaluate_ensemble("full_image", predict_full_images(model, test.x, ensemble=True, **full), z_filter_size)
    return saved


def evaluate_volumes(
    run,
    model,
    data,
    crop_shape,
    *,
    divisor,
    overlap=0.0,
    padding=0,
    padding_mode="mirror",
    z_filter_size=0,
    half_overlap=True,
    ensemble=True,
    full_volume=None,
    batch_size=1,
    intensity_range=None,
):
    """Predict, post-process and score the test volumes under all 3D protocols of the study.

    Per subvolume; merged into complete volumes, with the ensemble of 16 orientations, each also behind the z-filter;
    with 50 % overlap, with the ensemble, and that behind the z-filter; whole volumes at once if asked for.

    Parameters
    ----------
    run, model, data, overlap, z_filter_size, ensemble, batch_size, intensity_range
        As `evaluate_images`.
    crop_shape : tuple of int
        ``(z, y, x, c)``.
    divisor : tuple of int
        ``(z, y, x)``: what the network's poolings divide, for full volumes.
    padding : int or tuple of int
        Margin of each subvolume, per axis, whose prediction is thrown away.
    padding_mode : str
        What lies outside the volume: ``mirror`` or ``median``.
    half_overlap : bool
        False leaves the stages with 50 % overlap out.
    full_volume : bool, optional
        Whether whole volumes are predicted at once too; None: if `utils.prediction.full_volumes.full_volumes_fit`.

    Returns
    -------
    dict of (str, str) to SavedImages
        As `evaluate_images`.
    """
    test, saved = data.test, _Saved(run, data.test)
    batches = {"batch_size": batch_size, "intensity_range": intensity_range}
    _evaluate_crops(run, model, data, batches)

    grid = {"crop_shape": crop_shape, "overlap": overlap, "padding": padding, "padding_mode": padding_mode, **batches}
    merged = saved.evaluate("per_image", predict_crops(model, test.x, **grid))
    if z_filter_size:
        saved.evaluate("per_image", z_filter(merged, z_filter_size), "z_filter")
    if ensemble:
        saved.evaluate_ensemble("per_image", predict_crops(model, test.x, ensemble=True, **grid), z_filter_size)

    if half_overlap:
        half = {**grid, "overlap": 0.5}
        saved.evaluate("overlap_50", predict_crops(model, test.x, **half))
        if ensemble:
            saved.evaluate_ensemble("overlap_50", predict_crops(model, test.x, ensemble=True, **half), z_filter_size)

    if full_volumes_fit(model, test.x, divisor, wanted=full_volume):
        full = {"divisor": divisor, "intensity_range": intensity_range}
        saved.evaluate("full_image", predict_full_images(model, test.x, **full))
    return saved


class _Saved(dict):
    """Probabilities of a test set on disk, by protocol and post-processing."""

    def __init__(self, run, test):
        super().__init__()
        self._run, self._test = run, test

    def evaluate(self, protocol, predictions, post="none"):
        """Score and save predictions, and return them as they are read back."""
        self[protocol, post] = self._run.evaluate(protocol, self._test, predictions, post=post)
        return self[protocol, post]

    def evaluate_ensemble(self, protocol, predictions, z_filter_size):
        """Score and save the predictions of an ensemble, and what the z-filter makes of them."""
        ensemble = self.evaluate(protocol, predictions, "ensemble")
        if z_filter_size:
            self.evaluate(protocol, z_filter(ensemble, z_filter_size), "ensemble_z_filter")


def _evaluate_crops(run, model, data, batches):
    run.section("Evaluation")
    per_crop = predict_each(model, data.test_crops.x, **batches)
    run.evaluate("per_crop", data.test_crops, per_crop, loss=model.loss, save=False)
