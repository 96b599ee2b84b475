"""The networks of the templates, found and built by reading the pages: no list of them is kept by hand."""

import ast
from pathlib import Path

from utils.template_text import template_variables

ROOT = Path(__file__).resolve().parents[1]


def template_files():
    """List the templates: the two reference templates first, those of folders inside ``templates/`` behind the others.

    Returns
    -------
    list of Path
    """
    found = sorted(ROOT.glob("templates/**/*.py"), key=lambda path: (len(path.parts), path))
    found += sorted(ROOT.glob("sota_implementations/*/*_template*.py"))
    first = [ROOT / "templates" / f"U-Net_{axes}D_template.py" for axes in (2, 3)]
    return first + [path for path in found if path not in first]


def page_variables(page):
    """Return the variables of a template with their values.

    Parameters
    ----------
    page : str or Path
        The template.

    Returns
    -------
    dict of str to object
    """
    source = Path(page).read_text(encoding="utf-8")
    return {name: ast.literal_eval(default) for name, default, _ in template_variables(source)}


def builder_of(page):
    """Return which function builds the network of a template.

    Parameters
    ----------
    page : str or Path
        The template.

    Returns
    -------
    tuple of (str, str) or None
        Module and name of the function. None if the page takes a trained network, or chooses among several builders.

    Examples
    --------
    >>> builder_of(ROOT / "templates" / "U-Net_2D_template.py")
    ('networks.unet', 'U_Net_2D')
    """
    statements = _statements(page)
    call = getattr(_assignments(statements).get("model"), "value", None)
    for node in _imports_of_networks(statements):
        if isinstance(call, ast.Call) and ast.unparse(call.func) in [alias.name for alias in node.names]:
            return node.module, call.func.id
    return None


def one_page_for_each_builder():
    """List the templates of which no earlier one has the same network.

    Returns
    -------
    dict of (str, str) to Path
        The first template of each builder.
    """
    pages = {}
    for page in template_files():
        pages.setdefault(builder_of(page), page)
    del pages[None]
    return pages


def build_network(page, *, fixed_size=False, **values):
    """Build the network of a template without its data: of all statements, run only those that lead to ``model``.

    Parameters
    ----------
    page : str or Path
        The template.
    fixed_size : bool
        True: for images of ``CROP_SHAPE``; False: for those of any size, as the page does.
    **values
        Variables that differ from those of the page. Names that the page does not have are ignored.

    Returns
    -------
    model : keras.Model
        Not compiled.
    output_weights : sequence of float or None
        How much each output counts in the loss; None if the page does not say.
    """
    statements = _statements(page)
    names = {**page_variables(page), **values}
    for node in _imports_of_networks(statements):
        _execute(node, names)
    assignments = _assignments(statements)
    if fixed_size:
        for part in ast.walk(ast.Module(list(assignments.values()), [])):
            if isinstance(part, ast.Tuple) and ast.unparse(part).startswith("(None, None, "):
                part.elts = [ast.Constant(size) for size in names["CROP_SHAPE"]]
    _compute("model", assignments, names)
    for node in ast.walk(ast.Module(statements, [])):
        if isinstance(node, ast.keyword) and node.arg == "output_weights":
            _compute_all(node.value, assignments, names)
            _execute(ast.Assign([ast.Name("output_weights", ast.Store())], node.value), names)
    return names["model"], names.get("output_weights")


def _statements(page):
    return ast.parse(Path(page).read_text(encoding="utf-8")).body


def _imports_of_networks(statements):
    imports = [node for node in statements if isinstance(node, ast.ImportFrom)]
    return [node for node in imports if node.module.startswith(("networks.", "sota_implementations."))]


def _assignments(statements):
    """Return the statement that gives each name its value."""
    single = [node for node in statements if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)]
    return {node.targets[0].id: node for node in single}


def _compute(name, assignments, names):
    """Give a name its value, and before that those names that it needs."""
    if name not in names and name in assignments:
        _compute_all(assignments[name].value, assignments, names)
        _execute(assignments[name], names)


def _compute_all(expression, assignments, names):
    for part in ast.walk(expression):
        if isinstance(part, ast.Name):
            _compute(part.id, assignments, names)


def _execute(node, names):
    module = ast.fix_missing_locations(ast.Module([node], type_ignores=[]))
    exec(compile(module, "template", "exec"), names)  # noqa: S102 - a page of this repository
