"""The pages of the site that follow from the code: one for each template, one for each module.

docs/conf.py writes them into docs/generated/ when the site is built; they are never committed.
"""

import ast
import re

from make_variables import MEANINGS, ROOT, short_name, template_files

from utils.template_text import template_variables, variable_groups

PACKAGES = ("networks", "generators", "utils", "block_wise", "sota_implementations", "study", "data_sets", "sharing")
# Signs that Markdown would read as markup.
MARKUP = re.compile(r"([\\`*_<>\[\]$|])")


def write_pages(folder):
    """Write ``templates/*.md`` and ``api/*.rst`` into a folder where they changed, and remove obsolete pages."""
    pages = {f"templates/{page_name(path)}.md": template_page(path) for path in template_files()}
    pages |= {f"api/{module}.rst": module_page(module) for module in modules()}
    for name, text in pages.items():
        page = folder / name
        page.parent.mkdir(parents=True, exist_ok=True)
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")
    for page in folder.glob("*/*"):
        if page.relative_to(folder).as_posix() not in pages:
            page.unlink()


def page_name(template):
    """Return the name of the page of a template.

    >>> page_name(ROOT / "templates" / "Kasthuri++" / "U-Net_2D_template.py")
    'Kasthuri++_U-Net_2D'
    """
    return short_name(template).replace("/", "_")


def template_page(path):
    """Return the page of a template in Markdown: its docstring, its variables, and its code."""
    source = path.read_text(encoding="utf-8")
    title, _, rest = ast.get_docstring(ast.parse(source)).partition("\n")
    lines = [f"# {short_name(path)}\n", f"**{escaped(title)}**\n", as_markdown(rest), "## Variables\n"]
    lines.append("All of them, in all templates: [](../../variables.md).\n")
    groups, group = variable_groups(source), None
    for name, default, comment in template_variables(source):
        if groups[name] != group:
            group = groups[name]
            lines += ["", f"### {group}\n", "| variable | default | meaning |", "| --- | --- | --- |"]
        meaning = escaped(" ".join(comment) or MEANINGS.get(name, ""))
        lines.append(f"| `{name}` | `{default}` | {meaning} |")
    relative = path.relative_to(ROOT).as_posix()
    lines += ["", "## The template\n", f"`{relative}`\n"]
    lines += [f"```{{literalinclude}} ../../../{relative}", ":language: python", "```\n"]
    return "\n".join(lines)


def as_markdown(text):
    r"""Turn the text of a docstring into Markdown: indented lines become code, the rest paragraphs.

    >>> print(as_markdown("So:\n    --set A=1\nto <id>."))
    So:
    <BLANKLINE>
    ```bash
    --set A=1
    ```
    <BLANKLINE>
    to \<id\>.
    """
    parts = []
    for line in text.splitlines():
        is_code = line.startswith("    ")
        if not parts or parts[-1][0] != is_code:
            parts.append((is_code, []))
        parts[-1][1].append(line[4:] if is_code else escaped(line))
    blocks = ("\n".join(lines).strip() for _, lines in parts)
    fenced = (f"```bash\n{block}\n```" if part[0] else block for part, block in zip(parts, blocks, strict=True))
    return "\n\n".join(block for block in fenced if block) + "\n" * text.endswith("\n")


def escaped(text):
    r"""Return text in which nothing is markup.

    >>> print(escaped("a_b <id>"))
    a\_b \<id\>
    """
    return MARKUP.sub(r"\\\1", text)


def modules():
    """List the modules of the API by their dotted names: all that is imported, not templates and commands."""
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("[!_]*.py"))]
    templates = set(template_files())
    modules = [path for path in paths if path not in templates and 'if __name__ == "__main__"' not in path.read_text()]
    return [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in modules]


def module_page(module):
    """Return the page of a module, which Sphinx makes of its docstrings, in reStructuredText."""
    title = module.removeprefix("sota_implementations.")
    return f"{title}\n{'=' * len(title)}\n\n.. automodule:: {module}\n"
