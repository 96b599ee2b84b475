r"""Import labels, with ids of instances or of several classes, as the masks of a data folder.

    python data_sets/import_labels.py labels.h5 DATA_DIR/train/x DATA_DIR/train/y --as binary
    python data_sets/import_labels.py labels.tif DATA_DIR/train/x DATA_DIR/train/y --as classes --classes 0:0,5:1,7:2
    python data_sets/import_labels.py labels/ DATA_DIR/train/x DATA_DIR/train/instances --as instances

The labels are a tif, hdf5, zarr or npy file with a slice for each image, or a folder of files that pair with the images
by name. Masks are written as tif under the names of the images; the folder appears complete, or not at all.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data_sets.label_import import KINDS, NO_OBJECT, import_labels, parse_classes
from utils.errors import speak_in_sentences


def parse_arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", type=Path, help="file or folder of the labels")
    parser.add_argument("images", type=Path, help="folder of the images they belong to, as DATA_DIR/train/x")
    parser.add_argument("target", type=Path, help="folder to make, as DATA_DIR/train/y")
    parser.add_argument("--as", dest="kind", required=True, choices=KINDS, help="what the masks are to hold")
    parser.add_argument(
        "--classes",
        metavar="ID:CLASS,...",
        help="class of each id, rest:CLASS for all others; not needed where the ids are 0, 1, ... without a gap",
    )
    parser.add_argument(
        "--background",
        type=int,
        nargs="+",
        metavar="ID",
        help="ids that are no object, not for classes (default 0 and 2**64 - 1)",
    )
    parser.add_argument("--dataset", metavar="NAME", help="array of the labels in hdf5 and zarr files")
    parser.add_argument("--image-dataset", metavar="NAME", help="array of the images in hdf5 and zarr files")
    return parser.parse_args()


def main():
    """Import the labels and print what became of them."""
    speak_in_sentences()
    args = parse_arguments()
    if args.classes is not None and args.kind != "classes":
        raise ValueError(f"--classes goes with --as classes, not with --as {args.kind}.")
    if args.background and args.kind == "classes":
        assigned = ",".join(f"{number}:0" for number in args.background)
        raise ValueError(f"--background does not go with --as classes: give --classes {assigned},...")
    report = import_labels(
        args.labels,
        args.images,
        args.target,
        kind=args.kind,
        classes=None if args.classes is None else parse_classes(args.classes),
        background=tuple(args.background or (0, NO_OBJECT)),
        datasets=(args.dataset, args.image_dataset),
    )
    print(report)
    print(f"Written: {args.target}")
    if args.kind == "instances" and args.target.name == "y":
        print("Note: the templates read y/ as classes. Keep ids in a folder of another name, and import y/ as binary.")


if __name__ == "__main__":
    main()
