"""The log file of a run: what standard output shows is written to it too, from its beginning to its end."""

import os
import sys

from utils.files import lock_file


def open_log(path):
    """Open a log file for this process alone.

    Parameters
    ----------
    path : Path
        Text is added to it. If this process writes to it already, as in a notebook, that ends.

    Returns
    -------
    file object or None
        Locked until it is closed; None if another process writes to it.
    """
    if isinstance(sys.stdout, _Tee) and sys.stdout.path == str(path):
        end_logging()
    file = path.open("a", encoding="utf-8")
    if lock_file(file):
        return file
    file.close()
    return None


def start_logging(file):
    """Write standard output to a file too.

    Parameters
    ----------
    file : file object
        From `open_log`. An earlier file of this process, such as that of the last run of a notebook, gets no more.
    """
    end_logging()
    sys.stdout = _Tee(sys.stdout, file)


def end_logging():
    """Give standard output back to the terminal alone."""
    if isinstance(sys.stdout, _Tee):
        sys.stdout = sys.stdout.end()


class _Tee:
    """Standard output that is also written to the log file."""

    def __init__(self, terminal, file):
        self.path = file.name
        self._terminal, self._file = terminal, file

    def write(self, text):
        self._terminal.write(text)
        try:
            self._file.write(text)
            self._file.flush()
        except OSError as error:
            # A full disk must not stop the run here: what has to be written says so itself.
            self._terminal.write(f"[{self.path} is not written any more: {error}]\n")
            self._file = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        return len(text)

    def end(self):
        """Close the file and return the terminal."""
        self._file.close()
        return self._terminal

    def __getattr__(self, name):
        return getattr(self._terminal, name)
