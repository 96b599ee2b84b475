"""Importing TensorFlow without the lines that it prints each time about itself, and only without these."""

import importlib.abc
import importlib.util
import os
import re
import sys
import tempfile
from contextlib import contextmanager

# Notes of TensorFlow's C++ code, which no variable of the environment turns off while it is loaded.
NOTES = re.compile(
    rb"^WARNING: All log messages before absl::|^I0000 |oneDNN custom operations are on|cpu_feature_guard"
)


def import_quietly(package="tensorflow"):
    """Hold back the notes of a package when it is imported for the first time; everything else is still printed.

    Parameters
    ----------
    package : str
        Its name. It need not be installed.
    """
    if package not in sys.modules and not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder(package))


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, package):
        self._package = package

    def find_spec(self, name, path=None, target=None):
        if name != self._package:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(importlib.abc.Loader):
    def __init__(self, loader):
        self._loader = loader

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        module.__loader__ = module.__spec__.loader = self._loader
        with _notes_held_back():
            self._loader.exec_module(module)


@contextmanager
def _notes_held_back():
    """Keep what is written to standard error in a file, and write all but the notes at the end."""
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
            file.seek(0)
            os.write(2, b"".join(line for line in file if not NOTES.search(line)))
