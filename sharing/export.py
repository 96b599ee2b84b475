r"""Export the network of a finished run for other programs, each format checked to predict the same.

    python sharing/export.py JOB_DIR/results/400_0 exported --as keras --as savedmodel --as onnx
    python sharing/export.py JOB_DIR/results/400_0 exported --as bioimageio --author "Ada Lovelace" --license MIT

The folder appears complete or not at all. Its README.md and description.json tell what the network must be fed.
ONNX and bioimage.io need: pip install -r env/requirements-sharing.txt
"""

import argparse
import logging
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sharing.formats import FORMATS
from utils.command_line import prepare_backend
from utils.errors import speak_in_sentences
from utils.files import check_free
from utils.runs.record import RunRecord


def parse_arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="folder of the run, job_dir/results/<id>_<rid>")
    parser.add_argument("target", type=Path, help="folder to make")
    parser.add_argument(
        "--as", dest="formats", action="append", required=True, choices=FORMATS, help="format; repeat for several"
    )
    parser.add_argument("--image", help="image file whose middle becomes the test image (default: noise)")
    parser.add_argument("--dataset", metavar="NAME", help="array of the image in hdf5 and zarr files")
    parser.add_argument(
        "--author",
        action="append",
        default=[],
        metavar="NAME",
        help="repeat for several; bioimage.io wants at least one",
    )
    parser.add_argument("--license", default="CC-BY-4.0", help="of the weights, as SPDX calls it (default CC-BY-4.0)")
    parser.add_argument("--name", default="", help="name of the network (default: from the run)")
    parser.add_argument("--description", default="", help="a sentence on what it does (default: from the run)")
    return parser.parse_args()


def main():
    """Export the network and print the checks."""
    speak_in_sentences()
    args = parse_arguments()
    # Mistakes are found before Keras is loaded, which takes seconds.
    RunRecord(args.run).network()
    check_free(args.target)
    warnings.filterwarnings("ignore", "In the future `np.object`", FutureWarning)  # of Keras, about NumPy
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # each format traces the network anew
    prepare_backend("-1")  # GPUs multiply with fewer digits than the comparison needs.
    from sharing.run_export import export_run

    about = {"name": args.name, "description": args.description, "authors": args.author, "license": args.license}
    lines = export_run(args.run, args.target, args.formats, image=args.image, dataset=args.dataset, **about)
    print("\n".join(lines))
    print(f"Written: {args.target}")


if __name__ == "__main__":
    main()
