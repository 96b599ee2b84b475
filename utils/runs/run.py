"""The folder of a run: its files, its log, its scores, and when a start may write to it."""

import sys
import time
from datetime import datetime
from pathlib import Path

import numpy as np

from utils.command_line import this_machine
from utils.devices import check_gpus
from utils.errors import tell_about_run
from utils.files import write_json
from utils.images.writing import ImageWriter, SavedImages
from utils.metrics.pixels import check_probability, confusion_matrix, probability_to_mask, round_probability
from utils.pictures.charts import draw_overlays, middle_slice
from utils.runs.environment import describe_environment, peak_memory_gib
from utils.runs.folder import (
    check_run_folder,
    data_changes,
    describe_data,
    record_data,
    remove_results,
    run_folder,
)
from utils.runs.log import end_logging, open_log, start_logging
from utils.runs.record import (
    CHECKPOINTS_NAME,
    ENVIRONMENT_NAME,
    LOG_NAME,
    SETTINGS_NAME,
    RunRecord,
    describe_origin,
)
from utils.runs.report import REPORT_NAME, write_report
from utils.runs.scores import ScoreTable


class Run:
    """Write one run of a template into its folder ``job_dir/results/<id>_<rid>/``.

    Where several machines train one network, the first has this folder. The others write log, history and checkpoints
    to ``job_dir/machines/<id>_<rid>_<number>/`` and resume from the checkpoints of the first.

    Parameters
    ----------
    args : argparse.Namespace
        From `utils.command_line.parse_command_line`.
    settings : dict
        Every variable after overrides, from `utils.command_line.apply_overrides`.
    seed : int, optional
        Seed of all random numbers of this repetition.
    intensity_range : tuple of float or ZScore, optional
        Grey values of black and white in pictures; None: by the dtype.
    voxel_size_nm : float or tuple of float, optional
        Size of a voxel ``(z, y, x)`` or pixel ``(y, x)`` in nanometres, None if it is not known.
    image_dataset, mask_dataset : str, optional
        Names of the arrays in hdf5 and zarr files.
    begun : bool
        Keep the results in the folder although no training was saved, such as the finished blocks of a volume.

    Attributes
    ----------
    name : str
        ``<id>_<rid>``.
    folder : Path
        Folder of this machine.
    saved_training : Path
        Folder of the checkpoints that a training resumes from, those of the first machine.
    checkpoints, checks, charts, images : Path
        Subfolders of ``folder``, made when something is written into them.

    Raises
    ------
    FileExistsError
        If the run is finished, if another process is running it, or if an epoch of it is finished and ``--resume`` is
        not given.
    ValueError
        If it is to be resumed with other settings, another seed, another template or other data.
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
        claimed, machine = run_folder(args), this_machine()
        self.name, self.settings, self.folder = claimed.name, settings, claimed
        if not machine.is_first:
            self.folder = Path(args.job_dir) / "machines" / f"{self.name}_{machine.number}"
        self.saved_training, self.checkpoints = claimed / CHECKPOINTS_NAME, self.folder / CHECKPOINTS_NAME
        self.checks, self.charts, self.images = (self.folder / part for part in ("checks", "charts", "images"))
        self._intensity_range, self._scores, self._overlays = intensity_range, ScoreTable(self.folder), []
        self._start, self._earlier_seconds, self._section = time.perf_counter(), 0.0, "Training"
        facts = {"settings": settings, "set": args.set, "command": [str(part) for part in sys.argv]}
        facts |= describe_origin(facts["command"][0], args.data_dir)
        facts |= {"seed": seed, "precision": args.precision, "deterministic": args.deterministic}
        facts |= {"voxel_size_nm": voxel_size_nm, "image_dataset": image_dataset, "mask_dataset": mask_dataset}
        check_gpus()
        check_run_folder(claimed)
        files = describe_data(args.data_dir, args.job_dir)
        self._claim_folder(args, RunRecord(claimed), facts, begun, files)
        print(f"Run {self.name}, {datetime.now():%Y-%m-%d %H:%M}, in {self.folder}")
        print("\n".join(f"  {variable} = {value!r}" for variable, value in settings.items()))
        if seed is not None:
            print(f"Seed of this repetition: {seed}.")
        tell_about_run(log=self.folder / LOG_NAME, advice=self._advice)
        write_json(self.folder / SETTINGS_NAME, facts)
        record_data(self.folder, files)
        self._environment = describe_environment(args.code_dir) | {"start": f"{datetime.now():%Y-%m-%d %H:%M:%S}"}
        write_json(self.folder / ENVIRONMENT_NAME, self._environment)
        print(f"Device: {self._environment['device']}; backend {self._environment['backend']}.")

    def _claim_folder(self, args, record, facts, begun, files):
        """Make the folder and start its log, or raise why this start must not write there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        log = open_log(self.folder / LOG_NAME)
        if log is None:
            raise FileExistsError(
                f"run {self.name} is running in another process ({self.folder}). "
                "Wait for its end, or choose another --rid."
            )
        try:
            keep = not args.dry_run and (self._resumes(args.resume, record, facts, files) or begun)
        except BaseException:
            log.close()
            raise
        start_logging(log)
        if args.resume and not args.dry_run and not keep:
            print(f"There is nothing to resume in {self.folder}: the run starts anew.")
        if not keep:
            remove_results(self.folder, dry_run=args.dry_run)

    def _resumes(self, resume, record, facts, files):
        """Return whether this start resumes a training, or raise why it must not write there."""
        if record.state == "finished":
            raise FileExistsError(
                f"run {self.name} is finished; its results are in {record.folder}. Choose another --rid."
            )
        if record.state == "new":
            return False
        if not resume:
            raise FileExistsError(
                f"run {self.name} was begun and not finished ({record.folder}). "
                "Add --resume to continue it, or choose another --rid."
            )
        changed = record.changes(facts)
        if changed:
            raise ValueError(
                f"run {self.name} was begun with other settings: {'; '.join(changed)}. Use the same, or another --rid."
            )
        changed = data_changes(record.folder, files)
        if changed:
            raise ValueError(
                f"run {self.name} was begun with other files in the data folder ({'; '.join(changed)}). Restore these, "
                "or start with another --rid."
            )
        record.check_resumable()
        self._earlier_seconds = sum(row["seconds"] for row in record.training_state["history"])
        return True

    def _advice(self):
        """Say how to go on after the run was stopped."""
        state = RunRecord(self.folder).training_state
        if not state:
            return f"The same command starts {self.name} again."
        if self._section != "Training":
            return "--resume goes on with what follows the training."
        return f"--resume goes on from epoch {len(state['history']) + 1}."

    def section(self, title):
        """Print the title of a part of the template with the time since the start."""
        self._section = title
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
            The probabilities, read back from disk one by one, for the next step; None if not saved.

        Raises
        ------
        ValueError
            If there are not as many predictions as images, or a prediction has another size than its image or holds
            NaN.
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
                check_probability(probability, str(images.names[count - 1]))
                if loss is not None and images.y is not None:
                    truth = np.asarray(images.y[count - 1])
                    losses.append(float(loss(truth[np.newaxis], probability[np.newaxis])))
                n_classes = max(2, probability.shape[-1])
                for _, place in images.pieces(count - 1):
                    rounded = round_probability(probability[place])
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
            names = [str(source) for _, source, _ in pieces]
            self._scores.add_pixels(protocol, post, names, matrices, losses=losses)
        if not save:
            return None
        self._overlays.append(folder / "overlay.png")
        self._draw(self._overlays[-1], images, [pieces[number] for number in samples], shown)
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

    def add_scores(self, protocol, post, scores, *, n):
        """Add scores that were computed elsewhere, as `utils.runs.scores.ScoreTable.add`."""
        self._scores.add(protocol, post, scores, n=n)

    def finish(self):
        """Write times, memory and the page of the run; print the scores and which pictures to look at."""
        end = {"end": f"{datetime.now():%Y-%m-%d %H:%M:%S}"}
        self._environment |= {
            "seconds": round(time.perf_counter() - self._start, 1),
            "earlier_seconds": round(self._earlier_seconds, 1),
            "peak_memory_gib": peak_memory_gib(),
        }
        write_json(self.folder / ENVIRONMENT_NAME, self._environment)
        self._scores.print_headlines()
        print(f"Report: {self.folder / REPORT_NAME}")
        for picture in self._overlays[:1]:
            print(f"Overlay picture: {picture}")
        minutes, memory = self._environment["seconds"] / 60, self._environment["peak_memory_gib"]
        earlier = f" after {self._earlier_seconds / 60:.1f} of training in earlier starts" * bool(self._earlier_seconds)
        write_report(self.folder, environment=end)
        print(f"Finished in {minutes:.1f} minutes{earlier}, peak memory {memory} GiB: {self.folder}", flush=True)
        # Only now does the run count as finished: all that it leaves is there.
        write_json(self.folder / ENVIRONMENT_NAME, self._environment | end)
        tell_about_run(log=None, advice=str)
        end_logging()
