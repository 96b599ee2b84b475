r"""Check a data folder as the templates do, say what it holds, and draw it.

    python data_sets/check.py DATA_DIR
    python data_sets/check.py DATA_DIR --n-classes 5 --picture data.png
    python data_sets/check.py DATA_DIR --volumes --image-dataset volumes/raw --mask-dataset volumes/labels

Everything that a template would refuse is listed at once, with file names; the status is then 1. Of val/, which
templates/big_data_template.py reads, the images are checked too; volumes are checked in train/ and test/ only.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data_sets.data_survey import check_picture, survey_data, survey_table, write_picture
from utils.data.data_folder import load_image_sets
from utils.data.survey import survey_notes
from utils.errors import raise_problems, speak_in_sentences
from utils.files import why_not_there
from utils.variables import variable_problem

# As many as the last number of a crop shape may be.
MOST_CHANNELS = 1000


def parse_arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "data_dir", type=Path, help="folder with train/x train/y test/x, test/y if there is truth, val/x val/y"
    )
    parser.add_argument("--n-classes", type=int, default=1, help="as N_CLASSES of the template (default 1)")
    parser.add_argument("--channels", type=int, default=1, help="last number of CROP_SHAPE: 1 grey, 3 RGB (default 1)")
    parser.add_argument(
        "--intensity-range", type=float, nargs=2, metavar=("LOW", "HIGH"), help="as INTENSITY_RANGE of the template"
    )
    parser.add_argument("--volumes", action="store_true", help="check as the 3D templates do")
    parser.add_argument("--image-dataset", metavar="NAME", help="array of the images in hdf5 and zarr files")
    parser.add_argument("--mask-dataset", metavar="NAME", help="array of the masks in hdf5 and zarr files")
    parser.add_argument(
        "--picture",
        type=Path,
        metavar="FILE",
        help="png of images and mask outlines; only one that was drawn here is replaced",
    )
    return parser.parse_args()


def check_settings(args):
    """Raise what the command line itself has wrong, before anything is read."""
    channels = None if 1 <= args.channels <= MOST_CHANNELS else f"wanted a whole number from 1 to {MOST_CHANNELS}"
    problems = {
        "--n-classes": variable_problem("N_CLASSES", args.n_classes),
        "--channels": channels and f"is {args.channels}; {channels}",
        "--intensity-range": variable_problem("INTENSITY_RANGE", args.intensity_range),
    }
    raise_problems("the command line", [f"{option}: {problem}" for option, problem in problems.items() if problem])
    if not args.data_dir.is_dir():
        raise FileNotFoundError(f"{why_not_there(args.data_dir)}, and a data folder is needed.")
    if args.picture:
        check_picture(args.picture, args.data_dir)


def main():
    """Print what there is, then what is wrong with it."""
    speak_in_sentences()
    args = parse_arguments()
    check_settings(args)
    datasets = {"image_dataset": args.image_dataset, "mask_dataset": args.mask_dataset}
    surveys = survey_data(args.data_dir, channels=args.channels, **datasets)
    if surveys:
        print(survey_table(surveys))
    for note in survey_notes(surveys, range_is_known=bool(args.intensity_range)):
        print(f"Note: {note}")
    intensity_range = args.intensity_range and tuple(args.intensity_range)
    settings = {"channels": args.channels, "n_classes": args.n_classes, "intensity_range": intensity_range}
    volumes = bool(args.volumes or args.image_dataset or args.mask_dataset)
    parts = {"train": False, "test": True}
    if not volumes and (args.data_dir / "val").is_dir():
        parts["val"] = False
    train, test, *others = load_image_sets(args.data_dir, parts, volumes=volumes, **settings, **datasets)
    validation = others[0] if others else None
    classes = ", ".join(f"{value:g} is class {number}" for number, value in enumerate(train.mask_values))
    counts = f"{len(train)} to train on, " + f"{len(validation or ())} to validate with, " * (validation is not None)
    print(f"No problems: {counts}{len(test)} to test on; of the masks' values {classes}.")
    if args.picture:
        write_picture(args.picture, train, test, validation=validation, intensity_range=intensity_range)
        print(f"Drawn: {args.picture}")


if __name__ == "__main__":
    main()
