"""The scores of a run, printed under the published labels and written as tables."""

import numpy as np

from utils.files import write_csv, write_json
from utils.metrics.pixels import nan_mean, scores_from_confusion
from utils.runs.record import SCORES_NAME

TABLE_NAME, IMAGE_TABLE_NAME = "scores.csv", "scores_per_image.csv"
PROTOCOL_LABELS = {
    "per_crop": "(per crop)",
    "per_image": "(merge into complete image)",
    "overlap_50": "(merge with 50% overlap)",
    "full_image": "(full)",
}
POST_LABELS = {
    "none": "",
    "blending": "Post-process: Blending - ",
    "z_filter": "Post-process: Z-Filtering - ",
    "blending_z_filter": "Post-process: Blending + Z-Filtering - ",
    "ensemble": "Post-process: Ensemble - ",
    "ensemble_z_filter": "Post-process: Ensemble + Z-Filtering - ",
    "spurious": "Post-process: Spurious Detection - ",
    "spurious_watershed": "Post-process: Spurious Detection + Watershed - ",
    "spurious_watershed_z_filter": "Post-process: Spurious Detection + Watershed + Z-Filtering - ",
    "fused_layers": "Post-process: Fused Layers - ",
    "connected_objects": "Post-process: Connected Objects - ",
}
METRIC_LABELS = {
    "foreground_iou": "Foreground IoU",
    "overall_iou": "Overall IoU",
    "dice": "Dice",
    "precision": "Precision",
    "recall": "Recall",
    "average_precision_50": "Average Precision 0.50",
    "average_precision_75": "Average Precision 0.75",
    "mean_matched_score": "Mean Matched Score",
    "panoptic_quality": "Panoptic Quality",
    "adapted_rand_error": "Adapted Rand Error",
    "det": "DET",
}
# Pixel scores that are printed and stand in the closing table.
HEADLINE_METRICS = ("foreground_iou", "overall_iou")


class ScoreTable:
    """The score tables of a run, written again after every addition.

    A row has ``protocol``, ``post``, ``metric``, ``value``, ``n`` (how many images or volumes) and ``label``. Pixel
    scores are pooled over all images; their rows also have ``mean_per_image`` and ``n_scored_images``.

    Parameters
    ----------
    folder : Path
        Gets ``scores.json`` and ``scores.csv``, and ``scores_per_image.csv`` for pixel scores.
    """

    def __init__(self, folder):
        self.folder, self._rows, self._image_rows = folder, [], []

    def add(self, protocol, post, scores, *, n):
        """Add scores that were computed elsewhere, and print them.

        Parameters
        ----------
        protocol, post : str
            As `utils.runs.run.Run.evaluate`.
        scores : dict of str to float
            By metric.
        n : int
            How many images or volumes were scored.
        """
        for metric, value in scores.items():
            self._add(protocol, post, metric, float(value), n)
        self._write()

    def add_pixels(self, protocol, post, names, matrices, *, losses=()):
        """Add the pixel scores of images, and print the headline metrics.

        Parameters
        ----------
        protocol, post : str
            As `utils.runs.run.Run.evaluate`.
        names : list of str
            A name for each matrix.
        matrices : list of numpy.ndarray
            From `utils.metrics.pixels.confusion_matrix`.
        losses : list of float
            Test loss of each image or volume, if it was computed.
        """
        if losses:
            self._add(protocol, post, "loss", nan_mean(losses), len(losses))
        per_image = [scores_from_confusion(matrix) for matrix in matrices]
        for metric, value in scores_from_confusion(sum(matrices)).items():
            values = [scores[metric] for scores in per_image]
            more = {"mean_per_image": nan_mean(values), "n_scored_images": int(np.isfinite(values).sum())}
            self._add(protocol, post, metric, value, len(matrices), more, show=metric in HEADLINE_METRICS)
        for name, scores in zip(names, per_image, strict=True):
            self._image_rows.append({"protocol": protocol, "post": post, "image": name} | scores)
        self._write()
        write_csv(self.folder / IMAGE_TABLE_NAME, self._image_rows)

    def print_headlines(self):
        """Print the headline metrics of every protocol and post-processing, and where all scores are."""
        if not self._rows:
            return
        values = {(row["protocol"], row["post"], row["metric"]): row["value"] for row in self._rows}
        print(f"\n{'protocol':<12}{'post-processing':<20}{'foreground IoU':>15}{'overall IoU':>13}")
        for key in dict.fromkeys(key[:2] for key in values if key[2] in HEADLINE_METRICS):
            foreground, overall = (values.get((*key, metric), np.nan) for metric in HEADLINE_METRICS)
            print(f"{key[0]:<12}{key[1]:<20}{foreground:>15.4f}{overall:>13.4f}")
        print(f"\nScores: {self.folder / TABLE_NAME}")

    def _add(self, protocol, post, metric, value, n, more=None, *, show=True):
        label = _label(protocol, post, metric)
        row = {"protocol": protocol, "post": post, "metric": metric, "value": value, "n": n, "label": label}
        self._rows.append(row | (more or {}))
        if show:
            print(f"{label}: {value:.4f}", flush=True)

    def _write(self):
        write_json(self.folder / SCORES_NAME, self._rows)
        write_csv(self.folder / TABLE_NAME, self._rows)


def _label(protocol, post, metric):
    """Return the published label of a score."""
    before = POST_LABELS.get(post, f"Post-process: {post} - ")
    if metric == "loss":
        return f"{before}Test loss"
    behind = PROTOCOL_LABELS.get(protocol, f"({protocol})")
    return f"{before}Test {METRIC_LABELS.get(metric, metric)} {behind}"
