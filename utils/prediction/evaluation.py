"""All protocols of the study in one call, as U-Net_2D_template.py and U-Net_3D_template.py spell them out."""

from utils.post_processing.z_filter import z_filter
from utils.prediction.full_volumes import full_volumes_fit


def evaluate_images(run, predictor, data, *, z_filter_size=0, ensemble=True):
    """Predict, post-process and score the test images under all 2D protocols of the study.

    These are: per crop; merged and blended into complete images, each also with the z-filter; with 50 % overlap, with
    the ensemble of 8 orientations, and that with the z-filter; the same three on full images.

    Parameters
    ----------
    run : Run
        Scores, prints and saves each prediction.
    predictor : Predictor
        Of the trained network.
    data : ExperimentData
        Gives ``test``, ``test_crops`` and the ``overlap`` of merged crops.
    z_filter_size : int
        Slices in the median along z; 0 leaves the z-filter out.
    ensemble : bool
        False leaves out all stages with the ensemble.

    Returns
    -------
    dict of (str, str) to SavedImages
        The probabilities by protocol and post-processing, for the next steps.
    """
    test, saved = data.test, _Saved(run, data.test)
    _evaluate_crops(run, predictor, data)

    merged = saved.evaluate("per_image", predictor.crops(test, overlap=data.overlap))
    blended = saved.evaluate("per_image", predictor.blended(test), "blending")
    if z_filter_size:
        saved.evaluate("per_image", z_filter(merged, z_filter_size), "z_filter")
        saved.evaluate("per_image", z_filter(blended, z_filter_size), "blending_z_filter")

    saved.evaluate("overlap_50", predictor.crops(test, overlap=0.5))
    if ensemble:
        saved.evaluate_ensemble("overlap_50", predictor.crops(test, overlap=0.5, ensemble=True), z_filter_size)

    saved.evaluate("full_image", predictor.full(test))
    if ensemble:
        saved.evaluate_ensemble("full_image", predictor.full(test, ensemble=True), z_filter_size)
    return saved


def evaluate_volumes(
    run,
    predictor,
    data,
    *,
    overlap=None,
    padding=0,
    padding_mode="mirror",
    z_filter_size=0,
    half_overlap=True,
    ensemble=True,
    full_volume=None,
):
    """Predict, post-process and score the test volumes under all 3D protocols of the study.

    These are: per subvolume; merged into complete volumes, with the ensemble of 16 orientations, each also with the
    z-filter; with 50 % overlap, with the ensemble, and that with the z-filter; whole volumes at once if asked for.

    Parameters
    ----------
    run, predictor, data, z_filter_size, ensemble
        As `evaluate_images`.
    overlap : float or tuple of float, optional
        Minimum overlap of neighbouring subvolumes; None: that of the data.
    padding, padding_mode
        As `utils.prediction.protocols.predict_crops`.
    half_overlap : bool
        False leaves out the stages with 50 % overlap.
    full_volume : bool, optional
        Whether whole volumes are predicted at once too; None: if `utils.prediction.full_volumes.full_volumes_fit`.

    Returns
    -------
    dict of (str, str) to SavedImages
        As `evaluate_images`.
    """
    test, saved = data.test, _Saved(run, data.test)
    _evaluate_crops(run, predictor, data)

    margins = {"padding": padding, "padding_mode": padding_mode}
    grid = {"overlap": data.overlap if overlap is None else overlap, **margins}
    merged = saved.evaluate("per_image", predictor.crops(test, **grid))
    if z_filter_size:
        saved.evaluate("per_image", z_filter(merged, z_filter_size), "z_filter")
    if ensemble:
        saved.evaluate_ensemble("per_image", predictor.crops(test, ensemble=True, **grid), z_filter_size)

    if half_overlap:
        half = {"overlap": 0.5, **margins}
        saved.evaluate("overlap_50", predictor.crops(test, **half))
        if ensemble:
            saved.evaluate_ensemble("overlap_50", predictor.crops(test, ensemble=True, **half), z_filter_size)

    if full_volumes_fit(predictor, test, wanted=full_volume):
        saved.evaluate("full_image", predictor.full(test))
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
        """Score and save the predictions of an ensemble, also with the z-filter."""
        ensemble = self.evaluate(protocol, predictions, "ensemble")
        if z_filter_size:
            self.evaluate(protocol, z_filter(ensemble, z_filter_size), "ensemble_z_filter")


def _evaluate_crops(run, predictor, data):
    run.section("Evaluation")
    per_crop = predictor.each(data.test_crops)
    run.evaluate("per_crop", data.test_crops, per_crop, loss=predictor.model.loss, save=False)
