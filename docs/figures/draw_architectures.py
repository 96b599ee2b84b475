"""Draw the networks of the templates from their Keras graphs, as docs/figures/architectures_2d.png and _3d.png.

Each network is built as its template builds it, with the template's variables. Layers that follow each other at one
size become a box: as wide as it has feature maps and as high as its arrays are (both on a logarithmic scale), with the
number of feature maps on it. Templates with the network of an earlier one are left out; nothing is listed by hand.

    python docs/figures/draw_architectures.py [folder of the pictures]
"""

# ruff: noqa: E402

import io
import math
import os
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras
from matplotlib.patches import Rectangle
from PIL import Image

from study.page_network import build_network, one_page_for_each_builder, page_variables
from utils.pictures.figures import new_figure

PICTURES = {2: "architectures_2d.png", 3: "architectures_3d.png"}
DOWN, UP, SAME, OUTPUT = "#4c78a8", "#4f8a45", "#7f7f7f", "#c2577e"
LEGEND = (
    "blue: smaller arrays than before; green: larger; grey: as large; rose: an output.\n"
    "On the boxes: feature maps of the widest convolution. "
    "Below: concatenations (cat), convolutions larger than 1, sums (+), products (×)"
)
COUNTED = {"Add": "+", "Multiply": "×", "Concatenate": "cat"}
ORDER = ("encoder", "cat", "conv", "+", "×")


@dataclass
class Block:
    """Layers that follow each other at one size."""

    number: int
    size: tuple
    column: int
    colour: str
    sources: set = field(default_factory=set)
    channels: int = 0
    last: int = 0
    contents: Counter = field(default_factory=Counter)


def blocks_of(model):
    """Join the layers of a network to blocks.

    A layer joins the block of its newest input if it has that block's size, or a block that was made from the same
    blocks at its size; else it begins a new one. An encoder that is a network itself is a block for each output.

    Parameters
    ----------
    model : keras.Model
        Functional, of fixed size.

    Returns
    -------
    list of Block
        From the input to the outputs.
    """
    blocks, block_of, outputs = [], {}, {id(tensor) for tensor in model.outputs}
    for operation in model.operations:
        node = operation._inbound_nodes[-1]  # the last call is that of this network
        used = node.input_tensors[:1] if type(operation).__name__ == "CropTo" else node.input_tensors
        inputs = [block_of[id(tensor)] for tensor in used]  # the second of CropTo only gives a size
        for tensor in node.output_tensors:
            newest = max(inputs, key=lambda block: block.number, default=None)
            size, channels = tensor.shape[1:-1], tensor.shape[-1]
            if math.prod(size) == 1:  # one value a feature map, to weigh it with
                block = newest
            else:
                block = find_or_add(blocks, size, newest)
                block.last = channels
                block.channels = max(block.channels, getattr(operation, "filters", 0))
                block.sources |= {other.number for other in inputs if other is not block}
            count(block, operation, channels)
            block.colour = OUTPUT if id(tensor) in outputs else block.colour
            block_of[id(tensor)] = block
            inputs = [block] if len(node.output_tensors) > 1 else inputs
    return blocks


def find_or_add(blocks, size, newest):
    """Return the block of this size that goes on with the newest input, a new one if there is none."""
    if newest is None:
        blocks.append(Block(len(blocks), size, 0, SAME))
        return blocks[-1]
    if newest.size == size:
        return newest
    twins = [block for block in blocks if block.size == size and block.sources == {newest.number}]
    if not twins:
        colour = DOWN if size < newest.size else UP
        column = newest.column + 1
        while any(block.column == column and block.size == size for block in blocks):
            column += 1
        twins = [Block(len(blocks), size, column, colour)]
        blocks += twins
    return twins[0]


def count(block, operation, channels):
    """Note what a layer adds to a block."""
    kind, kernel = type(operation).__name__, getattr(operation, "kernel_size", (1,))
    if kind in COUNTED:
        block.contents[COUNTED[kind]] += 1
    elif kind.startswith("Conv") and "Transpose" not in kind and max(kernel) > 1:
        block.contents["conv"] += 1
    elif kind == "Functional":
        block.contents[operation.name.split("_")[0]] = 1
        block.channels = channels


def draw(panel, model, title):
    """Draw one network: from left to right as it computes, large arrays at the top.

    Parameters
    ----------
    panel : matplotlib.axes.Axes
        Where.
    model : keras.Model
        Of fixed size.
    title : str
        Its name.
    """
    blocks = blocks_of(model)
    places = [(2.0 * block.column, math.log2(block.size[-1])) for block in blocks]
    for block, (x, y) in zip(blocks, places, strict=True):
        for number in block.sources:
            from_x, from_y = places[number]
            passes_others = any(other_y == y == from_y and from_x < other_x < x for other_x, other_y in places)
            arrow = {"arrowstyle": "-", "color": "#555555", "linewidth": 0.7}
            arrow["connectionstyle"] = f"arc3,rad={-0.15 * passes_others}"
            panel.annotate("", (x, y), (from_x, from_y), arrowprops=arrow, zorder=1)
        channels = block.channels or block.last
        width, height = 0.45 + 0.1 * math.log2(channels), 0.2 + 0.035 * y
        box = {"facecolor": block.colour, "edgecolor": "black", "linewidth": 0.5, "zorder": 2}
        panel.add_patch(Rectangle((x - width / 2, y - height / 2), width, height, **box))
        panel.text(x, y, str(channels), ha="center", va="center", fontsize=6.5, color="white", zorder=3)
        contents = "  ".join(f"{block.contents[what]} {what}" for what in sorted(block.contents, key=ORDER.index))
        panel.text(x, y - height / 2 - 0.05, contents, ha="center", va="top", fontsize=5.5, zorder=3)
    sizes = {block.size for block in blocks}
    panel.set_yticks([math.log2(size[-1]) for size in sizes], ["x".join(map(str, size)) for size in sizes], fontsize=6)
    lowest, highest = min(y for _, y in places), max(y for _, y in places)
    panel.set(xticks=[], xlim=(-1, max(x for x, _ in places) + 1), ylim=(lowest - 0.6, highest + 0.5))
    panel.set_title(f"{title}: {model.count_params():,} parameters", fontsize=9)
    panel.spines[["top", "right", "bottom"]].set_visible(False)


def main(folder=Path(__file__).parent):
    """Build the networks, draw and save."""
    pages = list(one_page_for_each_builder().values())
    for axes, name in PICTURES.items():
        templates = [page for page in pages if len(page_variables(page)["CROP_SHAPE"]) == axes + 1]
        columns = 2
        figure, panels = new_figure(-(-len(templates) // columns), columns, width=6, height=2.5)
        for panel in panels.flat:
            panel.set_visible(False)
        for panel, template in zip(panels.flat, templates, strict=False):
            panel.set_visible(True)
            keras.backend.clear_session()
            model, _ = build_network(template, fixed_size=True, ENCODER_WEIGHTS=None)
            draw(panel, model, template.stem.replace("_template", ""))
        figure.supxlabel(LEGEND, fontsize=7)
        stream = io.BytesIO()
        figure.savefig(stream, dpi=100, format="png")
        Image.open(stream).convert("RGB").quantize(32, dither=Image.Dither.NONE).save(
            Path(folder) / name, optimize=True
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
