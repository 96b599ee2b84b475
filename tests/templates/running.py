"""Running a template as a user would, and reading what it wrote."""

import json
import os
import subprocess
import sys
from pathlib import Path

import warm_process

ROOT = Path(__file__).resolve().parents[2]


def command(template, data, job, *flags, **settings):
    """Return the command line of a template, with ``--set`` for each setting."""
    overrides = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    path = str(ROOT / template if str(template).startswith("sota_") else ROOT / "templates" / template)
    return [sys.executable, "-u", path, str(ROOT), str(data), str(job), "--gpu", "-1", *flags, *overrides]


def run(template, *arguments, **settings):
    """Run a template on TensorFlow, or on another ``backend``, and return the finished process with its output."""
    backend = settings.pop("backend", "tensorflow")
    environment, words = os.environ | {"KERAS_BACKEND": backend}, command(template, *arguments, **settings)
    if backend == "tensorflow":
        return warm_process.run(words[2:], cwd=ROOT.parent, env=environment)
    return subprocess.run(words, capture_output=True, text=True, check=False, env=environment, cwd=ROOT.parent)


def read_scores(folder):
    """Return the values of scores.json by their labels."""
    return {row["label"]: row["value"] for row in json.loads((folder / "scores.json").read_text())}
