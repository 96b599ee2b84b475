"""The log file of a run: what standard output shows is written to it too, from its beginning to its end."""

import os
import sys

from utils.files import lock_file


def start_logging(path):
    """Write standard output to a file too, which is locked meanwhile.

    Parameters
    ----------
    path : Path
        Text is added to it. An earlier file of this process, such as that of the last run of a notebook, gets no more.

    Raises
    ------
    FileExistsError
        If another process writes to it.
    """
    end_logging()
    file = path.open("a", encoding="utf-8")
    if not lock_file(file):
        file.close()
        raise FileExistsError(
            f"run {path.parent.name} is running in another process, which writes {path}. "
            "Wait for its end, or choose another --rid."
        )
    sys.stdout = _Tee(sys.stdout, file)


def end_logging():
    """Give standard output back to the terminal alone."""
    if isinstance(sys.stdout, _Tee):
        sys.stdout = sys.stdout.end()


class _Tee:
    """Standard output that is also written to the log file."""

    def __init__(self, terminal, file):
        self._terminal, self._path = terminal, file.name
        self._file = file

    def write(self, text):
        self._terminal.write(text)
        try:
            self._file.write(text)
            self._file.flush()
        except OSError as error:
            # A full disk must not stop the run here: what has to be written says so itself.
            self._terminal.write(f"[{self._path} is not written any more: {error}]\n")
            self._file = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        return len(text)

    def end(self):
        """Close the file and return the terminal."""
        self._file.close()
        return self._terminal

    def __getattr__(self, name):
        return getattr(self._terminal, name)
