r"""Make a data folder of a public data set: Lucchi, Lucchi++ or Kasthuri++.

    python data_sets/prepare.py lucchi DATA_DIR
    python data_sets/prepare.py kasthuri++ DATA_DIR --files FOLDER

The files are downloaded into DATA_DIR_downloads (the same command resumes an interrupted download),
or taken from a folder where they are already. DATA_DIR gets train/x train/y test/x test/y, a picture, and DATA_CARD.md
with citation, licence and checksums; it appears complete and checked, or not at all.
"""

import argparse
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data_sets.data_preparation import CARD_NAME, prepare_data
from data_sets.public_data import PUBLIC_DATA
from utils.errors import speak_in_sentences


def parse_arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=tuple(PUBLIC_DATA), help="the data set")
    parser.add_argument("data_dir", type=Path, help="the folder to make")
    parser.add_argument(
        "--files", type=Path, metavar="FOLDER", help="tifs, zip or folders of slices, downloaded before"
    )
    return parser.parse_args()


def main():
    """Prepare the data set and print its data card."""
    speak_in_sentences()
    args = parse_arguments()
    command = shlex.join(["python", "data_sets/prepare.py", *sys.argv[1:]])
    print(prepare_data(args.name, args.data_dir, files=args.files, command=command))
    print(f"{args.data_dir} is ready. The same text is in {args.data_dir / CARD_NAME}")


if __name__ == "__main__":
    main()
