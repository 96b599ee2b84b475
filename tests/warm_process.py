"""Running a script as a user would, without paying for the import of Keras each time: in a fork of a warm process."""

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

SERVER = Path(__file__).with_name("warm_server.py")
# JAX compiles everything, which takes longer than what a test computes: half the time without optimisation.
JAX_OPTIONS = {"XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"}
_servers = {}


def environment(backend):
    """Return the environment of a process that computes with a backend and sees no GPU."""
    options = JAX_OPTIONS if backend == "jax" else {}
    return os.environ | options | {"KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": "-1"}


class WarmProcess:
    """A script that runs in a fork of a process that has imported Keras; what `subprocess.Popen` offers of it.

    Parameters
    ----------
    command : list
        ``[script, *arguments]``, without the interpreter.
    cwd : str or Path
        Folder in which it runs.
    env : dict of str to str, optional
        Its environment, by default that of this process; ``KERAS_BACKEND`` chooses the warm process.
    """

    def __init__(self, command, *, cwd, env=None):
        env = dict(os.environ if env is None else env)
        self._server = _server_of(env["KERAS_BACKEND"])
        self._folder = Path(tempfile.mkdtemp(prefix="warm_"))
        self._outputs = [str(self._folder / name) for name in ("stdout", "stderr")]
        arguments = [str(part) for part in command]
        request = {"arguments": arguments, "folder": str(cwd), "environment": env, "outputs": self._outputs}
        self.pid, self.returncode = _ask(self._server, request), None

    def poll(self):
        """Return the exit status, None while it runs."""
        return self._wait(os.WNOHANG)

    def wait(self):
        """Return the exit status when it has ended; negative is the signal that killed it."""
        return self._wait(0)

    def _wait(self, options):
        if self.returncode is None:
            self.returncode = _ask(self._server, {"wait": self.pid, "options": options})
        return self.returncode

    def kill(self):
        """Kill it, as a machine does that is out of memory."""
        if self.returncode is None:
            os.kill(self.pid, signal.SIGKILL)

    def communicate(self):
        """Wait, and return what it printed on standard output and for errors; can be asked once."""
        self.wait()
        texts = [Path(path).read_text(encoding="utf-8", errors="replace") for path in self._outputs]
        shutil.rmtree(self._folder)
        return tuple(texts)


def run(command, *, cwd, env=None):
    """Run ``[script, *arguments]`` to its end and return it as `subprocess.run` would, with its output as text."""
    process = WarmProcess(command, cwd=cwd, env=env)
    texts = process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, *texts)


def _server_of(backend):
    if backend not in _servers:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        _servers[backend] = subprocess.Popen([sys.executable, SERVER], env=environment(backend), **pipes)
        atexit.register(_end, _servers[backend])
    return _servers[backend]


def _end(server):
    server.stdin.close()
    try:
        server.wait(timeout=10)
    except subprocess.TimeoutExpired:
        server.kill()


def _ask(server, request):
    server.stdin.write(f"{json.dumps(request)}\n")
    server.stdin.flush()
    answer = server.stdout.readline()
    if not answer:
        raise RuntimeError(f"the warm process has ended with status {server.wait()}")
    return json.loads(answer)
