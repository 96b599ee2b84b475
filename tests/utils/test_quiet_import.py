"""Tests of importing a package that prints notes about itself."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = """
import os, sys
os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\\n")
os.write(2, b"I0000 00:00:17 1 port.cc:153] oneDNN custom operations are on. You may see\\n")
print("something that matters", file=sys.stderr)
if os.environ.get("BROKEN"):
    raise ImportError("a library is missing")
"""


def imported(folder, code, **environment):
    (folder / "noisy").mkdir(exist_ok=True)
    (folder / "noisy" / "__init__.py").write_text(PACKAGE)
    (folder / "noisy" / "part.py").write_text("here = __file__")
    path = f"{ROOT}:{folder}"
    command = [sys.executable, "-c", f"from utils.quiet_import import import_quietly; import_quietly('noisy'); {code}"]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={"PYTHONPATH": path, "PATH": "", **environment}
    )


def test_notes_are_held_back_and_everything_else_is_printed(tmp_path):
    code = (
        "import noisy.part, noisy, sys; print(noisy.__loader__.name, noisy.part.here); print('later', file=sys.stderr)"
    )
    result = imported(tmp_path, code)
    assert result.stderr == "something that matters\nlater\n" and result.returncode == 0
    assert result.stdout.split() == ["noisy", str(tmp_path / "noisy" / "part.py")]


def test_an_import_that_fails_is_told_with_what_was_printed(tmp_path):
    result = imported(tmp_path, "import noisy", BROKEN="1")
    assert result.stderr.startswith("something that matters\n") and "ImportError: a library is missing" in result.stderr


def test_a_package_that_is_not_there_fails_as_always(tmp_path):
    result = imported(tmp_path, "import_quietly('nowhere'); import nowhere")
    assert "ModuleNotFoundError: No module named 'nowhere'" in result.stderr
