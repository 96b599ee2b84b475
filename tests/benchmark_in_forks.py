"""Run a benchmark whose measuring processes are forks of this one, which has imported Keras: see `warm_process`.

    benchmark_in_forks.py SCRIPT [OPTION ...]

The measuring processes get the command lines and give the answers that they always do.
"""

import json
import multiprocessing
import runpy
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path


def answer(command, pipe):
    """Run ``[python, script, *arguments]`` in this process and send the last line that it prints."""
    sys.argv = [str(part) for part in command[1:]]
    with redirect_stdout(StringIO()) as printed:
        runpy.run_path(sys.argv[0], run_name="__main__")
    pipe.send(printed.getvalue().strip().splitlines()[-1])


def call_json(command):
    """As `measuring.call_json`."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=answer, args=(command, sender))
    process.start()
    sender.close()
    line = receiver.recv()  # EOFError if the fork has failed; what it said is on standard error
    process.join()
    return json.loads(line)


if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    import measuring

    measuring.call_json = call_json
    runpy.run_path(sys.argv[0], run_name="__main__")
