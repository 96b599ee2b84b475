"""The command line of a template: arguments, ``--set`` overrides, ``--help``, GPU and backend.

The only module that reads ``sys.argv`` and sets environment variables. It must not import Keras: it chooses what Keras
loads.
"""

import argparse
import ast
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import NamedTuple

from utils.errors import check_choice, did_you_mean, raise_problems, speak_in_sentences
from utils.files import folder_problems
from utils.quiet_import import import_quietly
from utils.template_text import describe_template, template_variables
from utils.variables import NAME, VARIABLES, cut, id_problem, variable_problem

# auto: bfloat16 where the hardware has it, otherwise float32.
PRECISIONS = ("auto", "float32", "mixed_bfloat16", "mixed_float16")
# A larger whole number is no number of anything.
MOST = 10**300


def parse_command_line(template_file, arguments=None, *, workers=2, more=None):
    """Parse the arguments of a template and choose GPU and backend; call it before Keras is imported.

    Parameters
    ----------
    template_file : str or Path
        ``__file__`` of the template; ``--help`` prints its docstring and variables.
    arguments : list of str, optional
        Instead of ``sys.argv[1:]``.
    workers : int
        Default of ``--workers``: threads that prepare batches or, block by block, processes that predict.
    more : dict of str to str, optional
        Options of this template alone, such as ``"--scheduler"``, with their help; None if not given.

    Returns
    -------
    argparse.Namespace
        ``code_dir``, ``data_dir``, ``job_dir`` (Path), ``id``, ``rid``, ``gpu`` (str), ``set`` (list of str),
        ``keep_seed``, ``dry_run``, ``resume``, ``precision``, ``deterministic``, ``workers``, and the options in
        ``more``.
    """
    speak_in_sentences()
    parser = argparse.ArgumentParser(
        prog=Path(template_file).name,
        description=describe_template(template_file),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("code_dir", type=Path, help="folder of this repository")
    parser.add_argument("data_dir", type=Path, help="folder with train/x train/y test/x and, if there is truth, test/y")
    parser.add_argument("job_dir", type=Path, help="results go to job_dir/results/<id>_<rid>/")
    parser.add_argument("--id", "-id", "--job_id", default="unknown_job", help="name of the experiment")
    parser.add_argument("--rid", "-rid", "--run_id", type=int, default=0, help="number of the repetition")
    parser.add_argument("--gpu", "-gpu", default="0", help="GPU number, several as 0,1, or -1 for the CPU")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="override a variable")
    parser.add_argument("--keep-seed", action="store_true", help="seed SEED in every repetition, instead of SEED + rid")
    parser.add_argument("--dry-run", action="store_true", help="everything but training: checks, one step, estimates")
    parser.add_argument("--resume", action="store_true", help="resume a run that was interrupted")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="number format; auto: the fastest here")
    parser.add_argument(
        "--deterministic", action="store_true", help="the same numbers in every run on GPUs too, slower"
    )
    parser.add_argument(
        "--workers", type=int, default=workers, help=f"threads or processes beside this one (default {workers})"
    )
    for option, text in (more or {}).items():
        parser.add_argument(option, metavar="VALUE", help=text)
    args = parser.parse_args(arguments)
    problems = folder_problems(args.code_dir, args.data_dir, args.job_dir)
    problems += [text for text in (id_problem(args.id),) if text]
    problems += [f"--rid is {args.rid}; wanted a number of at least 0"] * (args.rid < 0)
    problems += [f"--workers is {args.workers}; wanted a number of at least 0"] * (args.workers < 0)
    raise_problems("the command line", problems)
    _stop_as_with_control_c()
    prepare_backend(args.gpu)
    return args


def prepare_backend(gpus):
    """Choose what Keras will load and the GPUs it sees, and keep TensorFlow from printing notes about itself.

    Parameters
    ----------
    gpus : str
        As ``--gpu``.
    """
    choose_gpus(gpus)
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import_quietly()


def _stop_as_with_control_c():
    """Let SIGTERM and SIGHUP, as schedulers and closed terminals send them, end the program as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread() or "ipykernel" in sys.modules:
        return
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _interrupt)


def _interrupt(number, frame):
    raise KeyboardInterrupt(signal.Signals(number).name)


def check_prediction_precision(precision):
    """Check that a trained network can predict in a number format.

    Parameters
    ----------
    precision : str
        ``auto``, the format of its training, or ``float32``, for processors that are slow with 16-bit formats.
    """
    check_choice("--precision", precision, PRECISIONS)
    if precision not in ("auto", "float32"):
        raise ValueError(
            f"--precision {precision} is for training; a trained network predicts in the format of its training. Use "
            "auto for that, or float32."
        )


def choose_gpus(requested):
    """Make the requested GPUs visible to the backend, or none; a machine without GPU uses the CPU and prints that.

    Parameters
    ----------
    requested : str
        ``0``, ``0,1``, or ``-1`` for the CPU. Numbers count the GPUs that are visible already.

    Raises
    ------
    ValueError
        If the text is no list of numbers or names a GPU that does not exist.
    """
    try:
        numbers = [int(number) for number in requested.split(",")]
    except ValueError:
        raise ValueError(f"--gpu {requested}: wanted a number, several as 0,1, or -1 for the CPU.") from None
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        listing = _ask_driver("-L").splitlines()
        gpus = [str(number) for number in range(sum(line.startswith("GPU ") for line in listing))]
    else:
        gpus = [gpu for gpu in visible.split(",") if gpu not in ("", "-1")]
    if numbers == [-1]:
        chosen = []
    elif not gpus:
        print(f"--gpu {requested}: this machine has no GPU that can be used; the CPU is used.")
        chosen = []
    else:
        missing = [number for number in numbers if not 0 <= number < len(gpus)]
        if missing:
            there = ", ".join(str(number) for number in range(len(gpus)))
            raise ValueError(
                f"--gpu {requested}: this machine has {len(gpus)} GPU(s), number {there}. "
                "Use one of these, or --gpu -1 for the CPU."
            )
        chosen = [gpus[number] for number in numbers]
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(chosen) or "-1"


def requested_gpus():
    """Return the GPUs that the driver lists and the command line asked for.

    Returns
    -------
    list of str
        Their numbers; none with ``--gpu -1``, or where there is no driver.
    """
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES", "-1").split(",")
    return [gpu for gpu in chosen if gpu not in ("", "-1")] if "GPU " in _ask_driver("-L") else []


def gpu_memory():
    """Return the memory of the first visible NVIDIA GPU.

    Returns
    -------
    int or None
        Bytes; None if the driver does not say.
    """
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    answer = _ask_driver(f"--id={first}", "--query-gpu=memory.total", "--format=csv,noheader,nounits")
    return int(answer) * 2**20 if answer.strip().isdecimal() else None


def _ask_driver(*options):
    """Return what ``nvidia-smi`` prints, which needs no backend; nothing if it is missing."""
    if shutil.which("nvidia-smi") is None:
        return ""
    command = ["nvidia-smi", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout  # noqa: S603


class Machine(NamedTuple):
    """The number of this machine among the ``count`` that train one network together; number 0 saves and evaluates."""

    number: int
    count: int

    @property
    def is_first(self):
        """Whether this machine saves and evaluates."""
        return self.number == 0


def this_machine():
    """Read from ``TF_CONFIG`` in the environment which machine this is.

    Returns
    -------
    Machine
        ``Machine(0, 1)`` without ``TF_CONFIG``.
    """
    text = os.environ.get("TF_CONFIG")
    if not text:
        return Machine(0, 1)
    try:
        config = json.loads(text)
        workers, task = config["cluster"]["worker"], config["task"]
        number = task["index"]
        understood = set(config["cluster"]) == {"worker"} and task["type"] == "worker" and workers[number]
    except (ValueError, KeyError, TypeError, IndexError):
        understood = False
    if not understood or not 0 <= number < len(workers):
        raise ValueError(
            f"TF_CONFIG is {text}; wanted the addresses of all machines and the number of this one, such as "
            '{"cluster": {"worker": ["node1:12345", "node2:12345"]}, "task": {"type": "worker", "index": 0}}.'
        )
    return Machine(number, len(workers))


def apply_overrides(namespace, assignments):
    """Set variables from ``NAME=VALUE`` texts and return all variables.

    Names are case-insensitive. A text variable takes the text as it is; other values are Python literals of the type of
    the default. An int may stand for a float and a list for a tuple, and a default of None takes anything. A variable
    may be None if the comment above it in the template says None, and have one value for each axis if it says "one
    each". Every variable, overridden or not, must be what `utils.variables` says.

    Parameters
    ----------
    namespace : dict
        ``globals()`` of the template; its UPPER_CASE names are the variables. Changed in place unless an error is
        raised.
    assignments : list of str
        The values of ``--set``.

    Returns
    -------
    dict
        Every variable after the overrides.

    Raises
    ------
    ValueError
        With all unknown names (the closest is suggested), all wrong types and all impossible values.

    Examples
    --------
    >>> apply_overrides({"EPOCHS": 360, "LEARNING_RATE": 0.002}, ["epochs=20"])
    {'EPOCHS': 20, 'LEARNING_RATE': 0.002}
    """
    variables = {name: value for name, value in namespace.items() if name.isupper() and not name.startswith("_")}
    template = Path(namespace["__file__"]).read_text(encoding="utf-8") if "__file__" in namespace else ""
    comments = {name: " ".join(lines) for name, _, lines in template_variables(template)} if template else {}
    problems = []
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        name = name.strip().upper()
        if not equals:
            problems.append(f"{cut(assignment)!r} is not NAME=VALUE")
        elif name not in variables:
            problems.append(f"there is no variable {cut(name)}{did_you_mean(cut(name), variables)}")
        else:
            try:
                is_text = VARIABLES.get(name) is NAME
                variables[name] = _typed(text.strip(), namespace[name], comments.get(name, ""), is_text=is_text)
            except TypeError as error:
                problems.append(f"{name}={cut(text.strip())} {error}")
    found = (variable_problem(name, value, comments.get(name, "")) for name, value in variables.items())
    problems += filter(None, found)
    raise_problems("--set" if assignments else "the variables", problems)
    namespace.update(variables)
    return variables


def _typed(text, default, comment, *, is_text):
    """Return the value of a text, or raise ``TypeError`` with what is wrong with it, as a clause."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        value = text
    if value is None and ("None" in comment or default is None):
        return None
    if is_text or isinstance(default, str):
        return value if isinstance(value, str) else text
    value = tuple(value) if isinstance(value, list) else value
    if isinstance(value, tuple) and isinstance(default, int | float) and "one each" in comment:
        return tuple(_typed(repr(part), default, "", is_text=False) for part in value)
    if isinstance(default, float) and type(value) is int:
        return float(value) if abs(value) < MOST else math.inf
    if default is None or type(value) is type(default):
        return value
    wanted, got = type(default).__name__, type(value).__name__
    raise TypeError(f"is of type {got}, wanted {wanted} as in its default {default!r}")
