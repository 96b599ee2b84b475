"""The files that make an environment agree with each other and with the code; each check is shown to fail."""

import ast
import re
import shutil
import sys
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BASE = "requirements.txt"
PINNED = re.compile(r"([\w.-]+)(?:\[[\w,-]+\])?==([\w.]+)")
# The package of an import, where its name is another; or that it comes with.
PACKAGES = {
    "PIL": "pillow",
    "bioimageio.core": "bioimageio-core",
    "bioimageio.spec": "bioimageio-spec",
    "cloudpickle": "dask",
    "cv2": "opencv-python-headless",
    "distributed": "dask",
    "ome_zarr_models": "ome-zarr-models",
    "rsciio": "rosettasciio",
    "psutil": "dask",
    "skimage": "scikit-image",
    "tensorflow": "tensorflow-cpu",
}
# Packages that are used without being imported: where it shows.
USED_OTHERWISE = {
    "cryptography": ("block_wise/local_workers.py", "Security.temporary()"),
    "furo": ("docs/conf.py", 'html_theme = "furo"'),
    "imagecodecs": ("utils/images/sources.py", '"imagecodecs"'),
    "ipykernel": ("tests/docs/test_make_notebook.py", "NotebookClient("),
    "ipywidgets": ("tests/docs/test_make_notebook.py", "widget-view"),
    "myst-parser": ("docs/conf.py", '"myst_parser"'),
    "pytest-xdist": ("Makefile", "pytest -n auto"),
    "ruff": ("Makefile", "ruff check"),
    "sphinx": ("Makefile", "-m sphinx"),
    "tensorboard": ("utils/training/callbacks.py", '"tensorboard"'),
    "tf2onnx": ("sharing/formats.py", '"tf2onnx"'),
}
# Folders whose code runs with requirements.txt alone; what they import within functions is optional.
ROOMS = ("block_wise", "data_sets", "generators", "networks", "sharing", "sota_implementations", "study", "utils")


def read(root, name):
    return (root / name).read_text(encoding="utf-8")


def requirement_files(root):
    return sorted(path.name for path in (root / "env").glob("requirements*.txt"))


def requirement_lines(root, name):
    return [line for line in read(root, f"env/{name}").splitlines() if line.strip() and not line.startswith("#")]


def with_included(root, name):
    """Return a requirements file and those it includes, by name."""
    included = [line.removeprefix("-r ") for line in requirement_lines(root, name) if line.startswith("-r ")]
    return {name}.union(*(with_included(root, other) for other in included))


def pins(root, names):
    """Return every pin of some requirements files: package, version, file."""
    found = [(line, name) for name in names for line in requirement_lines(root, name) if not line.startswith("-r ")]
    matches = [(PINNED.fullmatch(line), name) for line, name in found]
    return [(re.sub(r"[._]", "-", match[1]).lower(), match[2], name) for match, name in matches if match]


def problems_of_requirements(root):
    problems = []
    for name in requirement_files(root):
        lines = requirement_lines(root, name)
        problems += [
            f"{name}: {line} is neither name==version nor -r file"
            for line in lines
            if not PINNED.fullmatch(line) and not re.fullmatch(r"-r requirements[\w-]*\.txt", line)
        ]
        problems += [f"{name} does not start from {BASE}" for _ in [0] if BASE not in with_included(root, name)]
    everything = sorted(pins(root, requirement_files(root)))
    problems += [
        f"{package} is pinned in {file} to {version} and in {other_file} to {other_version}"
        for (package, version, file), (other, other_version, other_file) in pairwise(everything)
        if package == other
    ]
    version = dict((package, version) for package, version, _ in everything).get("tensorflow-cpu")
    if f"tensorflow[and-cuda]=={version}" not in read(root, f"env/{BASE}"):
        problems.append("the TensorFlow for GPUs has another version than that for CPUs")
    return problems


def problems_of_conda_and_container(root):
    problems = []
    conda = re.findall(r"^ *- (.+)$", read(root, "env/DL_EM_base_env.yml"), flags=re.MULTILINE)
    packages = [entry for entry in conda if entry not in ("conda-forge", "pip", "pip:") and entry[:7] != "python="]
    if packages != [f"-r {BASE}"]:
        problems.append(f"the conda file installs {packages}, wanted -r {BASE} and nothing else")
    container = read(root, "env/EM_image_segmentation.def")
    installed = re.findall(r"^ *pip install (.+)$", container, flags=re.MULTILINE)
    if installed != [f"--no-cache-dir -r /code/env/{BASE}"]:
        problems.append(f"the container installs {installed}, wanted -r /code/env/{BASE} and nothing else")
    copied = re.findall(r"^ +(\S+) (/code\S*)$", container, flags=re.MULTILINE)
    if copied != [(folder, f"/code/{folder}") for folder in sorted([*ROOMS, "env", "templates"])]:
        problems.append("the container does not copy all folders of code, and nothing else, to /code")
    return problems


def problems_of_gpu_hints(root):
    """Find files that do not say which line to change for a GPU, as it stands."""
    (version,) = [version for package, version, _ in pins(root, [BASE]) if package == "tensorflow-cpu"]
    lines = (f"tensorflow-cpu=={version}", f"tensorflow[and-cuda]=={version}")
    names = ("env/DL_EM_base_env.yml", "env/EM_image_segmentation.def", "docs/getting_started.md")
    return [f"{name} does not name {line}" for name in names for line in lines if line not in read(root, name)]


def problems_of_python_versions(root):
    stated = re.search(r"Python (3\.\d+) to (3\.\d+)", read(root, f"env/{BASE}"))
    lowest, highest = (int(version.split(".")[1]) for version in stated.groups())
    used = {
        "env/DL_EM_base_env.yml": r"- python=3\.(\d+)$",
        "env/EM_image_segmentation.def": r"^From: python:3\.(\d+)-slim$",
        ".readthedocs.yaml": r'python: "3\.(\d+)"$',
    }
    promised = {
        "README.md": rf"Python 3\.(\d+) to 3\.{highest}\b",
        "docs/getting_started.md": rf"Python 3\.(\d+) to 3\.{highest}\b",
        "Makefile": rf"\(3, (\d+)\) <= sys\.version_info\[:2\] <= \(3, {highest}\)",
        "pyproject.toml": r'target-version = "py3(\d+)"',
    }
    problems = []
    for name, pattern in (used | promised).items():
        found = re.findall(pattern, read(root, name), flags=re.MULTILINE)
        allowed = range(lowest, highest + 1) if name in used else [lowest]
        if len(found) != 1 or int(found[0]) not in allowed:
            problems.append(f"{name} names Python 3.{found}, {BASE} 3.{lowest} to 3.{highest}")
    return problems


def imported(root):
    """Yield which file imports what from elsewhere, and whether at its top: path, package, bool."""
    files = sorted(path for path in root.rglob("*.py") if ".venv" not in path.parts)
    own = {path.stem for path in files} | {path.name for path in root.iterdir()}
    for path in files:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            else:
                modules = [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            for module in modules:
                first, two = module.split(".")[0], ".".join(module.split(".")[:2])
                if first not in own | sys.stdlib_module_names:
                    yield path.relative_to(root), PACKAGES.get(two, PACKAGES.get(first, first)), node in tree.body


def problems_of_imports(root):
    required = {package for package, _, _ in pins(root, [BASE])}
    known = {package for package, _, _ in pins(root, requirement_files(root))}
    problems, used = [], set()
    for path, package, at_top in imported(root):
        used.add(package)
        if package not in known:
            problems.append(f"{path} imports {package}, which is in no requirements file")
        elif at_top and path.parts[0] in ROOMS and package not in required:
            problems.append(f"{path} imports {package} at its top, which is not in {BASE}")
    for package in sorted(known - used):
        file, text = USED_OTHERWISE.get(package, (None, None))
        if file is None or text not in read(root, file):
            problems.append(f"{package} is required and not used")
    return problems


CHECKS = (
    problems_of_requirements,
    problems_of_conda_and_container,
    problems_of_python_versions,
    problems_of_imports,
    problems_of_gpu_hints,
)


@pytest.mark.parametrize("check", CHECKS)
def test_environment_files_agree(check):
    assert check(ROOT) == []


@pytest.fixture
def copy(tmp_path):
    """Return a copy of the repository with its environment files and one module that imports something."""
    shutil.copytree(ROOT / "env", tmp_path / "env")
    for name in ("README.md", "Makefile", "pyproject.toml", ".readthedocs.yaml", "docs/getting_started.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize(
    ("check", "name", "old", "new", "problem"),
    [
        (0, "requirements.txt", "scipy==", "scipy>=", "scipy>=.* is neither"),
        (0, "requirements-big.txt", "-r requirements.txt\n", "", "requirements-big.txt does not start from"),
        (0, "requirements-docs.txt", "sphinx==", "numpy==1.0\nsphinx==", "numpy is pinned in .* to 1.0 and in .* to 2"),
        (0, "requirements.txt", "tensorflow-cpu==", "tensorflow-cpu==9", "for GPUs has another version"),
        (1, "DL_EM_base_env.yml", "  - pip:", "  - scipy=1.0\n  - pip:", "installs .*'scipy=1.0'"),
        (1, "DL_EM_base_env.yml", "-r requirements.txt", "keras", "installs .*'keras'"),
        (1, "EM_image_segmentation.def", "-r /code/env/requirements.txt", "keras", "the container installs .*keras"),
        (1, "EM_image_segmentation.def", "utils /code/utils", "utils /elsewhere/utils", "does not copy all"),
        (
            1,
            "EM_image_segmentation.def",
            "    env /code/env\n",
            "    env /code/env\n    demo /code/demo\n",
            "nothing else",
        ),
        (
            4,
            "EM_image_segmentation.def",
            "tensorflow-cpu==2",
            "tensorflow-cpu==9",
            "def does not name tensorflow-cpu==2",
        ),
        (4, "DL_EM_base_env.yml", "[and-cuda]==2", "[and-cuda]==9", r"yml does not name tensorflow\[and-cuda\]==2"),
        (2, "DL_EM_base_env.yml", "python=3.11", "python=3.9", "DL_EM_base_env.yml names Python"),
        (2, "EM_image_segmentation.def", "python:3.11", "python:3.14", "EM_image_segmentation.def names Python"),
        (2, "requirements.txt", "Python 3.11 to", "Python 3.12 to", "README.md names Python"),
        (2, "requirements.txt", "to 3.13", "to 3.14", "getting_started.md names Python"),
    ],
)
def test_disagreement_is_found(copy, check, name, old, new, problem):
    path = copy / "env" / name
    assert CHECKS[check](copy) == [] and old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    assert re.search(problem, "\n".join(CHECKS[check](copy)))


def test_imports_and_requirements_are_compared(tmp_path):
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / BASE).write_text("numpy==2\nscipy==1\n")
    (tmp_path / "env" / "requirements-big.txt").write_text(f"-r {BASE}\nzarr==3\n")
    (tmp_path / "utils").mkdir()
    (tmp_path / "utils" / "own.py").write_text("import os\nimport numpy.linalg\ndef f():\n    from zarr import open\n")
    (tmp_path / "other.py").write_text("import scipy\nimport own\n")
    assert problems_of_imports(tmp_path) == []
    (tmp_path / "other.py").write_text("import cv2\n")
    (tmp_path / "utils" / "late.py").write_text("import zarr\n")
    assert problems_of_imports(tmp_path) == [
        "other.py imports opencv-python-headless, which is in no requirements file",
        f"utils/late.py imports zarr at its top, which is not in {BASE}",
        "scipy is required and not used",
    ]
