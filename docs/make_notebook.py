"""Write templates/U-Net_2D_workflow.ipynb: the cells of U-Net_2D_template.py with text, data and pictures around them.

python docs/make_notebook.py
"""

import re
import sys
from pathlib import Path

import jupytext
from nbformat import v4, validate, writes

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

from notebook_page import PAGE  # noqa: E402

from utils.errors import raise_problems  # noqa: E402
from utils.files import write_text  # noqa: E402

TEMPLATE = ROOT / "templates" / "U-Net_2D_template.py"
NOTEBOOK = ROOT / "templates" / "U-Net_2D_workflow.ipynb"
# Values of a short training, those of `make demo`, instead of those of the template.
SHORT_TRAINING = {
    "ROTATION90": "True",
    "BRIGHTNESS_RANGE": "(0.8, 1.2)",
    "AUGMENTATION_PROBABILITY": "0.5",
    "DROP_VALUES": "(0.0, 0.0, 0.0, 0.0, 0.0)",
    "LOSS": '"bce_dice"',
    "OPTIMIZER": '"adamw"',
    "LEARNING_RATE": "0.001",
    "SCHEDULE": '"one_cycle"',
    "EPOCHS": "55",
}
# Behind each of these, what it is in the template.
NOTE = "  # template: "


def make_notebook():
    """Return the notebook.

    Returns
    -------
    nbformat.NotebookNode
        Without outputs; the same template gives the same notebook.

    Raises
    ------
    ValueError
        If the cells of the template are not those that the notebook shows, or a variable is missing.
    """
    source = TEMPLATE.read_text(encoding="utf-8")
    template = {cell.metadata["title"]: cell.source for cell in jupytext.reads(source, "py:percent").cells[1:]}
    shown = [text for kind, text in PAGE if kind == "template"]
    raise_problems(
        f"cells of {TEMPLATE.name} and of PAGE in docs/notebook_page.py",
        [
            f"{title} is in one of them only"
            for title in [*template, *shown]
            if title not in template or title not in shown
        ],
    )
    cells = []
    for kind, text in PAGE:
        if kind == "text":
            cell = v4.new_markdown_cell(text)
        elif kind == "template":
            cell = v4.new_code_cell(f"# {text}\n{template[text]}")
        else:
            cell = v4.new_code_cell(text)
        if text == "Experiment variables":
            cell.source = with_values(cell.source, SHORT_TRAINING, note=NOTE)
        if kind == "parameters":
            cell.metadata["tags"] = ["parameters"]
        cell.id = f"cell-{len(cells):02d}"
        cells.append(cell)
    metadata = {
        "accelerator": "GPU",
        "colab": {"provenance": []},
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    notebook = v4.new_notebook(cells=cells, metadata=metadata)
    validate(notebook)
    return notebook


def with_values(source, values, *, note=None):
    """Return a cell in which variables have other values.

    Parameters
    ----------
    source : str
        Lines ``NAME = value``, comments behind them, and others.
    values : dict of str to str
        Values by name, as they are written in Python.
    note : str, optional
        Written behind each value, followed by the old one.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If the cell does not set a variable exactly once.

    Examples
    --------
    >>> print(with_values("A = 1  # one", {"A": "2"}))
    A = 2  # one
    """
    for name, value in values.items():
        behind = rf"{note}\2" if note else r"\3"
        source, count = re.subn(rf"^({name} = )(.*?)(  #.*)?$", rf"\g<1>{value}{behind}", source, flags=re.MULTILINE)
        if count != 1:
            raise ValueError(f"the cell sets {name} {count} times, wanted once")
    return source


if __name__ == "__main__":
    write_text(NOTEBOOK, writes(make_notebook()) + "\n")
    print(f"{NOTEBOOK.relative_to(ROOT)} written.")
