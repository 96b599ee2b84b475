"""Running a template as a user would, and reading what it wrote."""

import json
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


def start(template, *arguments, **settings):
    """Start a template, on TensorFlow or another ``backend``, in a fork of the warm process."""
    backend = settings.pop("backend", "tensorflow")
    words = command(template, *arguments, **settings)
    return warm_process.WarmProcess(words[2:], cwd=ROOT.parent, env=warm_process.environment(backend))


def run(template, *arguments, **settings):
    """Run a template as `start` and return the finished process with its output."""
    process = start(template, *arguments, **settings)
    texts = process.communicate()
    return subprocess.CompletedProcess(template, process.returncode, *texts)


def read_scores(folder):
    """Return the values of scores.json by their labels."""
    return {row["label"]: row["value"] for row in json.loads((folder / "scores.json").read_text())}
