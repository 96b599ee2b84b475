"""Running a script as a user would, without paying for the import of Keras each time: in a fork of a warm process."""

import atexit
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

_server = None


class WarmProcess:
    """A script that runs in a fork of the warm process; what `subprocess.Popen` offers of it."""

    def __init__(self, command, *, cwd, env):
        self._folder = Path(tempfile.mkdtemp(prefix="warm_"))
        self.output, self.errors = self._folder / "stdout", self._folder / "stderr"
        self.pid = _ask(
            {
                "arguments": [str(part) for part in command],
                "folder": str(cwd),
                "environment": {name: str(value) for name, value in env.items()},
                "output": str(self.output),
                "errors": str(self.errors),
            }
        )

    def wait(self):
        """Return the exit status when the script has ended."""
        return _ask({"wait": self.pid})

    def texts(self):
        """Return what was printed, on standard output and for errors."""
        return tuple(path.read_text(encoding="utf-8", errors="replace") for path in (self.output, self.errors))


def run(command, *, cwd, env=None):
    """Run ``[script, *arguments]`` to its end and return it as `subprocess.run` would, with its output as text."""
    process = WarmProcess(command, cwd=cwd, env=os.environ if env is None else env)
    status = process.wait()
    return subprocess.CompletedProcess(command, status, *process.texts())


def _ask(request):
    global _server
    if _server is None:
        environment = os.environ | {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "2"}
        command = [sys.executable, str(Path(__file__).with_name("warm_server.py"))]
        _server = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        atexit.register(_server.kill)
    _server.stdin.write(f"{json.dumps(request)}\n")
    _server.stdin.flush()
    return json.loads(_server.stdout.readline())
