"""The protocols of the study, one after another, as U-Net_2D_template.py and U-Net_3D_template.py spell them out."""

from utils.post_processing import z_filter
from utils.prediction import predict_blended, predict_crops, predict_each, predict_full_images


def evaluate_images(
    run, model, data, crop_shape, *, divisor, overlap=0.0, z_filter_size=0, batch_size=6, intensity_range=None
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
    batch_size : int
        Crops per call.
    intensity_range : tuple of float, optional
        As `utils.intensity.to_unit_range`.
    """
    run.section("Evaluation")
    test, batches = data.test, {"batch_size": batch_size, "intensity_range": intensity_range}
    per_crop = predict_each(model, data.test_crops.x, **batches)
    run.evaluate("per_crop", data.test_crops, per_crop, loss=model.loss, save=False)

    merged = run.evaluate("per_image", test, predict_crops(model, test.x, crop_shape, overlap=overlap, **batches))
    blended = run.evaluate("per_image", test, predict_blended(model, test.x, crop_shape, **batches), post="blending")
    if z_filter_size:
        run.evaluate("per_image", test, z_filter(merged, z_filter_size), post="z_filter")
        run.evaluate("per_image", test, z_filter(blended, z_filter_size), post="blending_z_filter")

    half = {"crop_shape": crop_shape, "overlap": 0.5, **batches}
    run.evaluate("overlap_50", test, predict_crops(model, test.x, **half))
    ensemble = run.evaluate("overlap_50", test, predict_crops(model, test.x, ensemble=True, **half), post="ensemble")
    if z_filter_size:
        run.evaluate("overlap_50", test, z_filter(ensemble, z_filter_size), post="ensemble_z_filter")

    full = {"divisor": divisor, "intensity_range": intensity_range}
    run.evaluate("full_image", test, predict_full_images(model, test.x, **full))
    ensemble = predict_full_images(model, test.x, ensemble=True, **full)
    ensemble = run.evaluate("full_image", test, ensemble, post="ensemble")
    if z_filter_size:
        run.evaluate("full_image", test, z_filter(ensemble, z_filter_size), post="ensemble_z_filter")


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
    full_volume=False,
    batch_size=1,
    intensity_range=None,
):
    """Predict, post-process and score the test volumes under all 3D protocols of the study.

    Per subvolume; merged into complete volumes, with the ensemble of 16 orientations, each also behind the z-filter;
    with 50 % overlap, with the ensemble, and that behind the z-filter; whole volumes at once if asked for.

    Parameters
    ----------
    run, model, data, overlap, z_filter_size, batch_size, intensity_range
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
    full_volume : bool
        True predicts whole volumes at once too.
    """
    run.section("Evaluation")
    test, batches = data.test, {"batch_size": batch_size, "intensity_range": intensity_range}
    per_crop = predict_each(model, data.test_crops.x, **batches)
    run.evaluate("per_crop", data.test_crops, per_crop, loss=model.loss, save=False)

    grid = {"crop_shape": crop_shape, "overlap": overlap, "padding": padding, "padding_mode": padding_mode, **batches}
    merged = run.evaluate("per_image", test, predict_crops(model, test.x, **grid))
    ensemble = run.evaluate("per_image", test, predict_crops(model, test.x, ensemble=True, **grid), post="ensemble")
    if z_filter_size:
        run.evaluate("per_image", test, z_filter(merged, z_filter_size), post="z_filter")
        run.evaluate("per_image", test, z_filter(ensemble, z_filter_size), post="ensemble_z_filter")

    if half_overlap:
        half = {**grid, "overlap": 0.5}
        run.evaluate("overlap_50", test, predict_crops(model, test.x, **half))
        ensemble = predict_crops(model, test.x, ensemble=True, **half)
        ensemble = run.evaluate("overlap_50", test, ensemble, post="ensemble")
        if z_filter_size:
            run.evaluate("overlap_50", test, z_filter(ensemble, z_filter_size), post="ensemble_z_filter")

    if full_volume:
        full = predict_full_images(model, test.x, divisor=divisor, intensity_range=intensity_range)
        run.evaluate("full_image", test, full)
