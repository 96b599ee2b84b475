"""The rules of the house: import directions, the shape of templates, documentation, and what the README promises."""

import ast
import re
import statistics
import sys
from pathlib import Path

import pytest


def is_command(path):
    return "ArgumentParser" in path.read_text()


ROOT = Path(__file__).resolve().parents[1]
TEMPLATES = sorted(ROOT.glob("templates/**/*.py")) + sorted(ROOT.glob("sota_implementations/*/*_template*.py"))
FOLDERS = ("networks", "generators", "utils", "block_wise", "sota_implementations", "study", "data_sets", "sharing")
COMMANDS = [
    path
    for path in sorted(ROOT.glob("*/*.py"))
    if path.parent.name in ("study", "data_sets", "sharing") and is_command(path)
]
MODULES = sorted(
    path
    for folder in FOLDERS
    for path in ROOT.glob(f"{folder}/**/*.py")
    if path not in TEMPLATES + COMMANDS and path.name != "__init__.py"
)
CELLS = [
    "Command line",
    "Experiment variables",
    "Imports",
    "Checks and data",
    "Data augmentation",
    "Network",
    "Training",
    "Evaluation",
    "Results",
]
ALLOWED_IMPORTS = {
    "networks": {"networks"},
    "generators": {"generators", "utils"},
    "utils": {"utils"},
    "block_wise": {"block_wise", "utils"},
    "sota_implementations": {"sota_implementations", "networks", "generators", "utils"},
    "study": {"study", "utils"},
    "data_sets": {"data_sets", "utils"},
    "sharing": {"sharing", "utils"},
}
BACKENDS = {"tensorflow", "torch", "jax"}
# Inside utils a room imports only from rooms before it; the modules beside the rooms import no room.
ROOMS = ("images", "metrics", "pictures", "post_processing", "data", "runs", "training", "prediction")
MODULES_BESIDE_ROOMS = {"command_line", "devices", "errors", "files", "quiet_import", "template_text", "variables"}
MOST_MODULES = 12


def name_of(path):
    return str(path.relative_to(ROOT))


def imported_packages(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.split(".")[0]


def cells_of(path):
    return re.findall(r"^# %% (.+)$", path.read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize("path", [*MODULES, *COMMANDS], ids=name_of)
def test_imports_run_one_way(path):
    folder = path.relative_to(ROOT).parts[0]
    packages = set(imported_packages(path))
    forbidden = {*FOLDERS, "templates"} - ALLOWED_IMPORTS[folder]
    assert not packages & forbidden
    if path.name != "devices.py":
        assert not packages & BACKENDS
    if folder == "networks":
        assert packages - set(sys.stdlib_module_names) <= {"keras", "networks"}


def test_utils_is_the_rooms_and_what_lies_beside_them():
    assert {path.name for path in (ROOT / "utils").iterdir() if path.is_dir() and any(path.glob("*.py"))} == set(ROOMS)
    assert {path.stem for path in (ROOT / "utils").glob("*.py")} - {"__init__"} == MODULES_BESIDE_ROOMS


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_holds_at_most_a_dozen_modules_and_imports_only_rooms_before_it(room):
    modules = [path for path in (ROOT / "utils" / room).glob("*.py") if path.name != "__init__.py"]
    assert 0 < len(modules) <= MOST_MODULES
    for path in modules:
        assert rooms_imported_by(path) <= set(ROOMS[: ROOMS.index(room) + 1])


@pytest.mark.parametrize("name", sorted(MODULES_BESIDE_ROOMS))
def test_what_lies_beside_the_rooms_imports_none_of_them(name):
    assert not rooms_imported_by(ROOT / "utils" / f"{name}.py")


def rooms_imported_by(path):
    names = [node.module for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    return {name.split(".")[1] for name in names if name.startswith("utils.") and name.split(".")[1] in ROOMS}


def test_no_circle_of_modules():
    imports = {name_of(path)[: -len(".py")].replace("/", "."): imported_modules(path) for path in MODULES}
    while free := [name for name, needed in imports.items() if not needed & imports.keys()]:
        for name in free:
            del imports[name]
    assert not imports


def imported_modules(path):
    tree = ast.parse(path.read_text())
    return {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}


def test_init_files_are_there_and_empty():
    for folder in {path.parent for path in MODULES} - {ROOT}:
        assert (folder / "__init__.py").read_text() == ""


@pytest.mark.parametrize("path", [*MODULES, *COMMANDS, *TEMPLATES], ids=name_of)
def test_no_underscore_name_crosses_a_module(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in FOLDERS:
            assert not [alias.name for alias in node.names if alias.name.startswith("_")]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_the_command_line_module_reads_the_command_line_and_sets_the_environment(path):
    if path.name == "command_line.py":
        return
    text = path.read_text()
    assert "argparse.ArgumentParser" not in text and "os.environ" not in text
    assert len(re.findall(r"sys\.argv", text)) <= (path.name == "run.py")  # the command is recorded in settings.json


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_and_functions_keep_their_size(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 350
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            documented = ast.get_docstring(node) is not None
            first = node.body[1] if documented and len(node.body) > 1 else node.body[0]
            assert node.end_lineno - first.lineno < 60, f"{node.name} is too long"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_user_mistakes_are_not_asserts_and_randomness_is_passed_in(path):
    for node in ast.walk(ast.parse(path.read_text())):
        assert not isinstance(node, ast.Assert)
    assert not re.findall(r"np\.random\.(?!default_rng|Generator)\w+", path.read_text())


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_public_functions_document_every_argument(path):
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            docstring = ast.get_docstring(node) or ""
            arguments = [a.arg for a in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]]
            missing = [name for name in arguments if not re.search(rf"^[\w, *]*\b{name}\b[\w, *]* : ", docstring, re.M)]
            missing = [name for name in missing if not re.search(rf"^[\w, ]*\b{name}\b[\w, ]*$", docstring, re.M)]
            assert docstring and not missing, f"{node.name}: {missing}"
            assert "Returns" in docstring or "Yields" in docstring or not _returns_a_value(node), node.name


def _returns_a_value(node):
    own = [n for n in ast.walk(node) if isinstance(n, ast.Return | ast.Yield | ast.YieldFrom)]
    return any(getattr(n, "value", None) is not None for n in own)


@pytest.mark.parametrize("path", [path for path in MODULES if "study" not in path.parts], ids=name_of)
def test_nothing_behind_a_template_looks_up_its_variables(path):
    assert not re.findall(r"""settings(?:\[|\.get\()["'][A-Z]""", path.read_text())


def test_there_are_templates():
    assert TEMPLATES


def test_every_network_has_a_page():
    from study.page_network import one_page_for_each_builder

    builders = {
        (f"networks.{path.stem}", node.name)
        for path in (ROOT / "networks").glob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.args.args and node.args.args[0].arg == "image_shape"
        if "keras.Model" in (ast.get_docstring(node) or "")
    }
    assert len(builders) > 10 and builders <= one_page_for_each_builder().keys()


@pytest.mark.parametrize("path", TEMPLATES, ids=name_of)
def test_templates_have_the_fixed_cells_in_order(path):
    titles = [title.split(":")[0] for title in cells_of(path)]
    assert list(dict.fromkeys(titles)) == CELLS


@pytest.mark.parametrize("path", TEMPLATES, ids=name_of)
def test_templates_are_pages_not_programs(path):
    text = path.read_text()
    tree = ast.parse(text)
    docstring = ast.get_docstring(tree)
    assert "Differs from" in docstring and f"python -u {name_of(path)} $code_dir" in docstring
    assert len(text.splitlines()) <= (500 if path.name == "general_template.py" else 190)
    loops = [node for node in ast.walk(tree) if isinstance(node, ast.For | ast.While | ast.ClassDef)]
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    assert not loops and len(functions) <= 1
    assert "np.zeros" not in text and "import numpy" not in text


def test_half_of_the_templates_have_at_most_175_lines():
    assert statistics.median(len(path.read_text().splitlines()) for path in TEMPLATES) <= 175


@pytest.mark.parametrize("path", TEMPLATES, ids=name_of)
def test_every_template_variable_is_a_commented_literal_and_is_used(path):
    from utils.template_text import template_variables

    text = path.read_text()
    variables = template_variables(text)
    assert len(variables) >= 15
    after = text[text.index("settings = apply_overrides(") :]
    for name, default, _ in variables:
        ast.literal_eval(default)
        assert re.search(rf"\b{name}\b", after), f"{name} is never used"


def test_no_run_of_twelve_equal_statements_in_four_templates():
    # Statements, because a call with a keyword argument on each line is one thing said; behind the imports, because
    # variables and imports are what makes a page complete in itself.
    seen = {}
    for path in TEMPLATES:
        text = path.read_text()
        body = ast.parse(text[text.index("# %% Checks and data") :]).body
        said = [ast.dump(statement) for statement in body]
        for start in range(len(said) - 11):
            seen.setdefault("\n".join(said[start : start + 12]), set()).add(path)
    assert max(map(len, seen.values()), default=0) < 4


def test_readme_table_names_every_template_and_only_those():
    readme = (ROOT / "README.md").read_text()
    named = set(re.findall(r"`((?:templates|sota_implementations)/[\w/+.-]+_template\w*\.py)`", readme))
    assert named == {name_of(path) for path in TEMPLATES}


def test_readme_has_the_two_commands_and_ci_calls_one_of_them():
    readme = (ROOT / "README.md").read_text()
    assert "make demo" in readme and "make test" in readme
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_environment_files_agree():
    env = ROOT / "env"
    pins = [line for line in (env / "requirements.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins)
    assert "requirements.txt" in (env / "DL_EM_base_env.yml").read_text()
    assert "env/requirements.txt" in (env / "EM_image_segmentation.def").read_text()
    assert "-r requirements.txt" in (env / "requirements-big.txt").read_text()
    assert "-r requirements-big.txt" in (env / "requirements-test.txt").read_text()


def test_file_names_are_allowed_everywhere():
    reserved = {"aux", "con", "nul", "prn"}
    names = [part for path in ROOT.glob("**/*") if ".git" not in path.parts for part in path.relative_to(ROOT).parts]
    assert not {name for name in names if name.split(".")[0].lower() in reserved or set(name) & set('<>:"|?*\\')}
    forbidden = {"helpers.py", "misc.py", "common.py"}
    assert not forbidden & {path.name for path in MODULES}
