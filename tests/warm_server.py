"""A Python process that has imported Keras once and runs scripts in forks of itself; `warm_process` talks to it.

A fork starts in a hundredth of a second where a new process needs five for its imports. Nothing was computed before the
fork, so a script finds Keras as if it had imported it: it chooses seed, precision, threads and devices itself.
"""

import atexit
import json
import os
import random
import runpy
import sys
import threading

import cv2  # noqa: F401
import h5py  # noqa: F401
import keras  # noqa: F401
import matplotlib.backends.backend_agg  # noqa: F401
import matplotlib.figure  # noqa: F401
import numpy as np
import scipy.ndimage  # noqa: F401
import scipy.spatial  # noqa: F401
import skimage.measure  # noqa: F401
import skimage.metrics  # noqa: F401
import skimage.segmentation  # noqa: F401
import tifffile  # noqa: F401
import tqdm.auto  # noqa: F401


def serve(requests, answers):
    """Answer requests line by line: start a script in a fork, or say how one ended."""
    for line in requests:
        request = json.loads(line)
        if "wait" in request:
            pid, status = os.waitpid(request["wait"], request["options"])
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            answer = os.fork()
            if answer == 0:
                requests.close()
                answers.close()
                become_script(**request)
        answers.write(f"{json.dumps(answer)}\n")
        answers.flush()


def become_script(arguments, folder, environment, outputs):
    """Run a script as ``python -u`` would, in this process, and end it."""
    for descriptor, path in enumerate((os.devnull, *outputs)):
        opened = os.open(path, os.O_RDONLY if descriptor == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.stdin = open(0)  # noqa: SIM115
    sys.stdout, sys.stderr = (open(number, "w", buffering=1, encoding="utf-8") for number in (1, 2))  # noqa: SIM115
    sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    random.seed()
    np.random.seed()
    sys.argv, sys.path[0] = arguments, os.path.dirname(os.path.abspath(arguments[0]))
    status = 0
    try:
        runpy.run_path(arguments[0], run_name="__main__")
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # without taking the imported modules apart, which takes longer than a short script


if __name__ == "__main__":
    serve(sys.stdin, sys.stdout)
