r"""Look at a run in napari: images, truth, probabilities, masks and instances, each page read when it is looked at.

    python sharing/view.py JOB_DIR/results/400_0
    python sharing/view.py JOB_DIR/results/400_0 --protocol per_image --post z_filter --data DATA_DIR

Needs: pip install -r env/requirements-napari.txt
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sharing.run_layers import lazy_array, run_layers
from utils.errors import speak_in_sentences


def parse_arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of the run, job_dir/results/<id>_<rid>")
    parser.add_argument("--protocol", help="folder in images/ (default per_image)")
    parser.add_argument("--post", help="folder in images/<protocol>/ (default none)")
    parser.add_argument("--data", type=Path, metavar="DATA_DIR", help="folder of the images (default: that of the run)")
    parser.add_argument("--list", action="store_true", help="only print the layers")
    return parser.parse_args()


def main():
    """Print the layers of a run and open them."""
    speak_in_sentences()
    args = parse_arguments()
    layers, notes = run_layers(args.run, protocol=args.protocol, post=args.post, data_dir=args.data)
    for layer in layers:
        print(f"{layer['name']}: {layer['shape']} {layer['dtype']}")
    for note in notes:
        print(f"Note: {note}")
    if args.list:
        return
    try:
        import napari
    except ImportError as error:
        raise ImportError("the viewer napari must be installed: pip install -r env/requirements-napari.txt") from error
    viewer = napari.Viewer(title=str(args.run))
    for layer in layers:
        add = viewer.add_labels if layer["kind"] == "labels" else viewer.add_image
        add(lazy_array(layer), name=layer["name"], **layer["options"])
    napari.run()


if __name__ == "__main__":
    main()
