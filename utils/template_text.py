"""The text of a template: its variables with their comments, and the description that ``--help`` prints."""

import ast
import re
from pathlib import Path

VARIABLES_CELL = "# %% Experiment variables"
GROUP_TITLE = "# ---"


def describe_template(template_file):
    """Return the docstring of a template file and each of its variables with comment and default, as a text.

    Parameters
    ----------
    template_file : str or Path
        The template.

    Returns
    -------
    str
    """
    source = Path(template_file).read_text(encoding="utf-8")
    tree = ast.parse(source)
    lines = [ast.get_docstring(tree) or "", "", "variables, for --set NAME=VALUE:"]
    groups, group = variable_groups(source), None
    for name, default, comment in template_variables(source):
        if groups[name] != group:
            group = groups[name]
            lines.append(f" {group}:")
        lines.append(f"  {name}={default}")
        lines += [f"      {line}" for line in comment]
    return "\n".join(lines)


def template_variables(source):
    """List the variables of a template's second cell.

    Parameters
    ----------
    source : str
        Text of the template.

    Returns
    -------
    list of (str, str, list of str)
        Name, default as written, and the lines of the comment above it.
    """
    cell = _variables_cell(source)
    cell_lines = cell.splitlines()
    variables = []
    for node in ast.parse(cell).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id.isupper():
            comment = []
            for line in reversed(cell_lines[: node.lineno - 1]):
                if not line.startswith("#") or line.startswith(GROUP_TITLE):
                    break
                comment.insert(0, line.lstrip("# "))
            variables.append((node.targets[0].id, ast.unparse(node.value), comment))
    return variables


def variable_groups(source):
    """Return the title (``# --- Title``) above each variable of a template's second cell.

    Parameters
    ----------
    source : str
        Text of the template.

    Returns
    -------
    dict of str to str
        Title by name; an empty text before the first title.
    """
    groups, group = {}, ""
    for line in _variables_cell(source).splitlines():
        if line.startswith(GROUP_TITLE):
            group = line.removeprefix(GROUP_TITLE).strip()
        elif match := re.match(r"([A-Z][A-Z0-9_]*) *=", line):
            groups[match[1]] = group
    return groups


def _variables_cell(source):
    start = source.index(VARIABLES_CELL) + len(VARIABLES_CELL)
    return source[start : source.find("\n# %%", start)]
