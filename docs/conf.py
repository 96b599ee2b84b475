"""Configuration of Sphinx: `make docs`, or `sphinx-build -W --keep-going docs docs/_build`.

docs/site_pages.py first writes pages of the templates and of the API into docs/generated/.
"""

# ruff: noqa: E402

import os
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
# Keras is imported, not imitated, so that signatures and base classes are the real ones.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
sys.path[:0] = [str(DOCS.parent), str(DOCS)]

from site_pages import write_pages

project = "EM Image Segmentation"
author = "Daniel Franco-Barranco, Arrate Muñoz-Barrutia, Ignacio Arganda-Carreras"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = project
html_show_sphinx = False

myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3

default_role = "py:obj"
# Options keep their two hyphens, commands their quotation marks.
smartquotes = False
autodoc_default_options = {"members": True, "member-order": "bysource", "show-inheritance": True}
autodoc_typehints = "none"
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False


def setup(app):
    """Have the generated pages written before Sphinx looks for pages."""
    app.connect("builder-inited", lambda app: write_pages(Path(app.srcdir) / "generated"))
