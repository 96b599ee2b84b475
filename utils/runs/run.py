"""The folder of a run: what goes where, the log, the scores, and when a folder may be written to."""

import shutil
import sys
import time
from datetime import datetime
from pathlib import Path

import numpy as np

from utils.command_line import this_machine
from utils.files import read_json, write_csv, write_json
from utils.images.writing import ImageWriter, SavedImages
from utils.metrics.pixels import confusion_matrix, nan_mean, probability_to_mask, scores_from_confusion
from utils.pictures.charts import draw_overlays, middle_slice
from utils.runs.environment import describe_environment, peak_memory_gib
from utils.runs.log import end_logging, open_log, start_logging
from utils.runs.record import changes_since, describe_origin, run_state, state_file
from utils.runs.report import REPORT_NAME, write_report

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
PRINTED_METRICS = ("foreground_iou", "overall_iou")
# Probabilities are rounded to 1/4096 before they are scored and saved: far below their accuracy, and a third of the
# disk space.
PROBABILITY_STEPS = 4096
# What a start writes beside its log, settings and checkpoints.
RESULTS = ("checks", "charts", "images", "tensorboard", "scores.json", "scores.csv", "scores_per_image.csv")
RESULTS += ("instances.csv", "instances_by_targets.csv", "validation_report.csv", "normalisation.json", REPORT_NAME)


def run_folder(args):
    """Return the folder of a run, which need not be there yet.

    Parameters
    ----------
    args : argparse.Namespace
        From ``parse_command_line``.

    Returns
    -------
    Path
        ``job_dir/results/<id>_<rid>``.
    """
    return Path(args.job_dir) / "results" / (f"{args.id}_{args.rid}" + ("_dry_run" if args.dry_run else ""))


class Run:
    """One run of a template: ``job_dir/results/<id>_<rid>/``.

    Of several machines that train one network the first has this folder; the others write log, history and checkpoints
    to ``job_dir/machines/<id>_<rid>_<number>/``, and go on from the checkpoints of the first.

    Parameters
    ----------
    args : argparse.Namespace
        From ``parse_command_line``.
    settings : dict
        Every variable after overrides, from ``apply_overrides``.
    seed : int, optional
        Seed of everything random; printed and recorded.
    intensity_range : tuple of float or ZScore, optional
        Grey values of black and white in pictures; None: by the dtype.
    voxel_size_nm : float or tuple of float, optional
        Size of a voxel ``(z, y, x)`` or pixel ``(y, x)`` in nanometres; recorded, None if it is not known.
    image_dataset, mask_dataset : str, optional
        Names of the arrays in hdf5 and zarr files; recorded, so that a viewer finds them again.
    begun : bool
        True: the run is continued although no training of it is on record, as block-wise runs are.

    Raises
    ------
    FileExistsError
        If the run is finished, if another process is running it, or if an epoch of it is finished and ``--resume`` is
        not given.
    ValueError
        If it is to be resumed with other settings, another template or other data.
    """

    def __init__(
        self,
        args,
        settings,
        *,
        seed=None,
        intensity_range=None,
        voxel_size_nm=None,
        image_dataset=None,
        mask_dataset=None,
        begun=False,
    ):
        self.folder = run_folder(args)
        name = self.folder.name
        self.saved_training = self.folder / "checkpoints"
        machine = this_machine()
        if not machine.is_first:
            self.folder = Path(args.job_dir) / "machines" / f"{name}_{machine.number}"
        self.checkpoints = self.folder / "checkpoints"
        self.name, self.settings = name, settings
        self._intensity_range, self._begun = intensity_range, begun
        self.checks, self.charts, self.images = (self.folder / part for part in ("checks", "charts", "images"))
        self._scores, self._image_scores, self._overlays = [], [], {}
        self._start, self._earlier_seconds = time.perf_counter(), 0.0
        command = [str(part) for part in sys.argv]
        record = {"settings": settings, "set": args.set, "command": command}
        record |= {"seed": seed, "precision": args.precision, "deterministic": args.deterministic}
        record |= {"voxel_size_nm": voxel_size_nm, "image_dataset": image_dataset, "mask_dataset": mask_dataset}
        record |= describe_origin(command[0], args.data_dir)
        self._claim_folder(args, record)
        print(f"Run {name}, {datetime.now():%Y-%m-%d %H:%M}, in {self.folder}")
        print("\n".join(f"  {variable} = {value!r}" for variable, value in settings.items()))
        print(f"  seed of this repetition: {seed}" * (seed is not None))
        write_json(self.folder / "settings.json", record)
        self._environment = describe_environment(args.code_dir) | {"start": f"{datetime.now():%Y-%m-%d %H:%M:%S}"}
        write_json(self.folder / "environment.json", self._environment)
        print(f"Device: {self._environment['device']}; backend {self._environment['backend']}.")

    def _claim_folder(self, args, record):
        """Make the folder and start its log, or raise why this start must not write there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        log = open_log(self.folder / "log.txt")
        if log is None:
            raise FileExistsError(
                f"run {self.name} is running in another process ({self.folder}). "
                "Wait for its end, or choose another --rid."
            )
        try:
            goes_on = not args.dry_run and self._goes_on(args, record)
        except BaseException:
            log.close()
            raise
        start_logging(log)
        if not goes_on:
            self._remove_results(everything=args.dry_run)

    def _goes_on(self, args, record):
        """Return whether there is something in the folder that this start goes on with, or raise why it must not be."""
        claimed = self.saved_training.parent
        state = run_state(claimed)
        if state == "finished":
            raise FileExistsError(f"run {self.name} is finished; its results are in {claimed}. Choose another --rid.")
        begun = state == "begun"
        if begun and not args.resume:
            raise FileExistsError(
                f"run {self.name} was begun and not finished ({claimed}). "
                "Add --resume to go on with it, or choose another --rid."
            )
        if begun:
            changed = changes_since(read_json(claimed / "settings.json"), record)
            if changed:
                raise ValueError(
                    f"run {self.name} was begun with other settings: {'; '.join(changed)}. "
                    "Use the same, or another --rid."
                )
            self._earlier_seconds = sum(row["seconds"] for row in read_json(state_file(claimed)).get("history", []))
        begun = begun or self._begun
        if args.resume and not begun:
            print(f"There is nothing to resume in {self.folder}: the run starts anew.")
        return begun

    def _remove_results(self, everything):
        """Remove the results of an earlier start that ended no epoch or trained nothing, maybe with other settings."""
        for path in list(self.folder.iterdir()):
            if path.name != "log.txt" and (everything or path.name in RESULTS):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def section(self, title):
        """Print the title of a part of the template with the time since the start.

        Parameters
        ----------
        title : str
            As in the cell.
        """
        print(f"\n--- {title} ({time.perf_counter() - self._start:.0f} s)", flush=True)

    def evaluate(self, protocol, images, predictions, *, post="none", loss=None, save=True):
        """Threshold, score, print and save predictions, one image or volume at a time.

        Writes ``images/<protocol>/<post>/{probability,binary}/<original name>.tif``, ``overlay.png`` beside them, and
        the score tables. Without ground truth it only saves. A volume that came as slices is written and scored slice
        by slice, one that came as a file as a whole.

        Parameters
        ----------
        protocol : str
            ``per_crop``, ``per_image``, ``overlap_50`` or ``full_image``: first part of names and labels.
        images : ImageSet
            What was predicted; gives names and truth.
        predictions : iterable of numpy.ndarray
            Probability ``(y, x, classes)`` or ``(z, y, x, classes)`` per image, in the order of ``images``; read once.
        post : str
            Post-processing, ``none`` or one of those with a published label.
        loss : callable, optional
            ``loss(truth, probability)`` on batches; its mean over the images is reported as the test loss.
        save : bool
            False scores without writing images.

        Returns
        -------
        SavedImages or None
            The probabilities, read back from disk one by one, for what comes next; None if not saved.

        Raises
        ------
        ValueError
            If there are not as many predictions as images, or a prediction has another size than its image.
        """
        folder = self.images / protocol / post
        folders = [folder / "probability", folder / "binary"]
        pieces = [(index, *piece) for index in range(len(images)) for piece in images.pieces(index)]
        samples = sorted({0, len(pieces) // 2, len(pieces) - 1})
        n_classes, matrices, losses, shown, count, position = 2, [], [], [], 0, 0
        with ImageWriter(folders, images.names) as writer:
            for count, probability in enumerate(predictions, start=1):
                if count > len(images) or probability.shape[:-1] != images.x[count - 1].shape[:-1]:
                    raise ValueError(
                        f"{protocol}, {post}: prediction {count} does not belong to the {len(images)} images."
                    )
                if loss is not None and images.y is not None:
                    truth = np.asarray(images.y[count - 1])
                    losses.append(float(loss(truth[np.newaxis], probability[np.newaxis])))
                n_classes = max(2, probability.shape[-1])
                for _, place in images.pieces(count - 1):
                    rounded = np.multiply(probability[place], np.float32(PROBABILITY_STEPS))
                    np.rint(rounded, out=rounded)
                    rounded /= np.float32(PROBABILITY_STEPS)
                    mask = probability_to_mask(rounded)
                    if save:
                        writer.write(rounded, mask * np.uint8(255) if n_classes == 2 else mask)
                    if images.y is not None:
                        matrices.append(confusion_matrix(images.y[count - 1][place], mask, n_classes))
                    if position in samples:
                        shown.append(mask)
                    position += 1
        if count != len(images):
            raise ValueError(
                f"{protocol}, {post}: {count} predictions for {len(images)} images. A prediction can be read once; "
                "use what run.evaluate() returned for the next step."
            )
        if matrices:
            self._add_scores(protocol, post, [str(source) for _, source, _ in pieces], matrices, losses)
        if not save:
            return None
        self._overlays[protocol, post] = folder / "overlay.png"
        self._draw(folder / "overlay.png", images, [pieces[number] for number in samples], shown)
        return SavedImages(folders[0], images.names)

    def _draw(self, path, images, pieces, shown):
        """Draw samples of the prediction over the images; of volumes the middle slice."""

        def pictures(arrays):
            found = [arrays[index][place] for index, _, place in pieces]
            return [middle_slice(array) for array in found]

        draw_overlays(
            path,
            pictures(images.x),
            None if images.y is None else pictures(images.y),
            [middle_slice(mask) for mask in shown],
            titles=[str(source) for _, source, _ in pieces],
            intensity_range=self._intensity_range,
        )

    def _add_scores(self, protocol, post, names, matrices, losses):
        per_image = [scores_from_confusion(matrix) for matrix in matrices]
        key = {"protocol": protocol, "post": post}
        prefix, suffix = _label_parts(protocol, post)
        if losses:
            label = f"{prefix}Test loss"
            value = nan_mean(losses)
            self._scores.append(key | {"metric": "loss", "value": value, "n": len(losses), "label": label})
            print(f"{label}: {value:.4f}")
        for metric, value in scores_from_confusion(sum(matrices)).items():
            values = [scores[metric] for scores in per_image]
            label = f"{prefix}Test {METRIC_LABELS.get(metric, metric)} {suffix}"
            row = {"metric": metric, "value": value, "n": len(matrices), "label": label}
            row |= {"mean_per_image": nan_mean(values), "n_scored_images": int(np.isfinite(values).sum())}
            self._scores.append(key | row)
            if metric in PRINTED_METRICS:
                print(f"{label}: {value:.4f}", flush=True)
        self._image_scores += [key | {"image": name} | scores for name, scores in zip(names, per_image, strict=True)]
        self._write_scores()
        write_csv(self.folder / "scores_per_image.csv", self._image_scores)

    def add_scores(self, protocol, post, scores, *, n):
        """Print scores that were computed elsewhere and add them to the score tables.

        Parameters
        ----------
        protocol, post : str
            As `evaluate`.
        scores : dict of str to float
            By metric.
        n : int
            How many images or volumes they are of.
        """
        prefix, suffix = _label_parts(protocol, post)
        for metric, value in scores.items():
            label = f"{prefix}Test {METRIC_LABELS.get(metric, metric)} {suffix}"
            row = {"protocol": protocol, "post": post, "metric": metric, "value": float(value), "n": n, "label": label}
            self._scores.append(row)
            print(f"{label}: {value:.4f}", flush=True)
        self._write_scores()

    def _write_scores(self):
        write_json(self.folder / "scores.json", self._scores)
        write_csv(self.folder / "scores.csv", self._scores)

    def finish(self):
        """Write what the run took and its page, print the scores in one table, and name the pictures to look at."""
        self._environment |= {
            "end": f"{datetime.now():%Y-%m-%d %H:%M:%S}",
            "seconds": round(time.perf_counter() - self._start, 1),
            "earlier_seconds": round(self._earlier_seconds, 1),
            "peak_memory_gib": peak_memory_gib(),
        }
        if self._scores:
            print(f"\n{'protocol':<12}{'post-processing':<20}{'foreground IoU':>15}{'overall IoU':>13}")
            values = {(row["protocol"], row["post"], row["metric"]): row["value"] for row in self._scores}
            for protocol, post in dict.fromkeys(key[:2] for key in values if key[2] in PRINTED_METRICS):
                foreground, overall = (values[protocol, post, metric] for metric in PRINTED_METRICS)
                print(f"{protocol:<12}{post:<20}{foreground:>15.4f}{overall:>13.4f}")
            print(f"\nScores: {self.folder / 'scores.csv'}")
        print(f"Report: {self.folder / REPORT_NAME}")
        for picture in list(self._overlays.values())[:1]:
            print(f"Overlay picture: {picture}")
        minutes, memory = self._environment["seconds"] / 60, self._environment["peak_memory_gib"]
        earlier = f" after {self._earlier_seconds / 60:.1f} of training in earlier starts" * bool(self._earlier_seconds)
        print(f"Finished in {minutes:.1f} minutes{earlier}, peak memory {memory} GiB: {self.folder}", flush=True)
        write_json(self.folder / "environment.json", self._environment)
        write_report(self.folder)
        end_logging()


def _label_parts(protocol, post):
    """Return what stands before and behind the name of a metric in a label."""
    prefix = POST_LABELS.get(post, f"Post-process: {post} - ")
    return prefix, PROTOCOL_LABELS.get(protocol, f"({protocol})")
