import ast
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from utils.command_line import (
    apply_overrides,
    choose_gpus,
    parse_command_line,
    this_machine,
)
from utils.files import folder_problems
from utils.template_text import describe_template, template_variables, variable_groups
from utils.variables import id_problem

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "templates" / "U-Net_2D_template.py"


@pytest.fixture
def visible(monkeypatch):
    """Set which GPUs the machine shows; the environment is put back afterwards."""

    def set_gpus(devices):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", devices)
        monkeypatch.setenv("CUDA_DEVICE_ORDER", "")

    return set_gpus


@pytest.fixture(autouse=True)
def keep_excepthook(monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)


@pytest.mark.parametrize(
    "flags", [["--id", "400", "--rid", "3"], ["-id", "400", "-rid", "3"], ["--job_id=400", "--run_id=3"]]
)
def test_all_published_spellings_are_understood(flags, visible):
    visible("0")
    args = parse_command_line(TEMPLATE, [str(ROOT), "data", "job", *flags, "-gpu", "0"])
    assert (args.id, args.rid, args.gpu) == ("400", 3, "0")
    assert args.data_dir == Path("data") and not args.resume and not args.dry_run


def test_a_code_dir_that_is_not_the_repository_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is not a copy of this repository"):
        parse_command_line(TEMPLATE, [str(tmp_path), "data", "job", "--gpu", "-1"])


def test_overrides_take_the_type_of_the_default():
    namespace = {"EPOCHS": 360, "RATE": 0.1, "MAPS": (1, 2), "NAME": "sgd", "FLAG": False, "NOTHING": None, "other": 1}
    given = ["epochs=5", "RATE=1", "MAPS=[3, 4, 5]", "NAME=adam", "FLAG=True", "NOTHING=(0, 1)"]
    settings = apply_overrides(namespace, given)
    expected = {"EPOCHS": 5, "RATE": 1.0, "MAPS": (3, 4, 5), "NAME": "adam", "FLAG": True, "NOTHING": (0, 1)}
    assert settings == expected
    assert {name: namespace[name] for name in expected} == expected and namespace["other"] == 1


def test_wrong_overrides_are_all_named_with_the_closest_match():
    with pytest.raises(ValueError) as error:
        apply_overrides({"EPOCHS": 360, "RATE": 0.1}, ["EPOCH=5", "EPOCHS=1.5", "RATE=fast", "EPOCHS=True", "nonsense"])
    message = str(error.value)
    assert "5 problems in --set" in message
    assert "no variable EPOCH; did you mean 'EPOCHS'?" in message
    assert "EPOCHS=1.5 is of type float, wanted int" in message
    assert "RATE=fast is of type str, wanted float" in message
    assert "EPOCHS=True is of type bool" in message
    assert "'nonsense' is not NAME=VALUE" in message


@pytest.fixture
def page(tmp_path):
    """Return the variables of a page as its ``globals()``."""
    lines = ["# %% Experiment variables", "# Factor along z, for all or one each", "POOLING_Z = 2"]
    lines += ["# Overlap, for all axes or", "# one each", "LEAST_OVERLAP = 0.0", "# How often", "EPOCHS = 3"]
    lines += ["# None, one_cycle or step", 'RATE_SCHEDULE = "step"', "# %% Imports", ""]
    file = tmp_path / "page.py"
    file.write_text("\n".join(lines))
    return {"__file__": str(file), "POOLING_Z": 2, "LEAST_OVERLAP": 0.0, "EPOCHS": 3, "RATE_SCHEDULE": "step"}


def test_what_holds_for_all_axes_may_be_given_for_each_if_the_comment_says_so(page):
    settings = apply_overrides(page, ["POOLING_Z=(2,2,1)", "LEAST_OVERLAP=[0, 0.5]"])
    assert (settings["POOLING_Z"], settings["LEAST_OVERLAP"]) == ((2, 2, 1), (0.0, 0.5))
    with pytest.raises(ValueError, match=r"POOLING_Z=\(2,0\.5\) is of type float, wanted int"):
        apply_overrides(page | {"POOLING_Z": 2}, ["POOLING_Z=(2,0.5)"])
    with pytest.raises(ValueError, match="EPOCHS=.* is of type tuple, wanted int"):
        apply_overrides(page, ["EPOCHS=(2,1)"])


def test_what_may_be_none_by_its_comment_may_be_none(page):
    assert apply_overrides(page, ["RATE_SCHEDULE=None"])["RATE_SCHEDULE"] is None
    with pytest.raises(ValueError, match="EPOCHS=None is of type NoneType, wanted int"):
        apply_overrides(page, ["EPOCHS=None"])


def test_3d_pages_take_a_factor_and_an_overlap_for_each_axis():
    file = ROOT / "templates" / "U-Net_3D_template.py"
    variables = {name: ast.literal_eval(default) for name, default, _ in template_variables(file.read_text())}
    settings = apply_overrides(variables | {"__file__": str(file)}, ["Z_DOWN=(1,2,2,2)", "OVERLAP=(0,0.5,0.5)"])
    assert (settings["Z_DOWN"], settings["OVERLAP"]) == ((1, 2, 2, 2), (0.0, 0.5, 0.5))


def test_a_name_that_looks_like_a_number_stays_a_name():
    settings = apply_overrides(
        {"RUN": None, "DATASET": "raw", "RANGE": None}, ["RUN=400_0", "DATASET=0", "RANGE=(0,9)"]
    )
    assert settings == {"RUN": "400_0", "DATASET": "0", "RANGE": (0, 9)}
    assert apply_overrides({"OPTIMIZER": "sgd"}, ["OPTIMIZER='adam'"]) == {"OPTIMIZER": "adam"}


def test_wrong_overrides_change_nothing():
    namespace = {"EPOCHS": 360, "RATE": 0.1}
    with pytest.raises(ValueError):
        apply_overrides(namespace, ["RATE=0.5", "EPOCHS=x"])
    assert namespace == {"EPOCHS": 360, "RATE": 0.1}


def test_variables_are_read_with_their_comments():
    source = (
        "# %% Experiment variables\n# How often\nEPOCHS = 3\n# Two\n# lines\nRATE = 0.5\n\n# %% Imports\nLATER = 1\n"
    )
    assert template_variables(source) == [("EPOCHS", "3", ["How often"]), ("RATE", "0.5", ["Two", "lines"])]


def test_titles_of_groups_are_no_comments():
    data, network = "# --- Data\n# Size\nA = 3\nB = 4\n", "# --- Network\nC = (\n    5,\n)\n"
    source = f"# %% Experiment variables\n{data}\n{network}\n# %% Imports\nD = 1\n"
    assert template_variables(source) == [("A", "3", ["Size"]), ("B", "4", []), ("C", "(5,)", [])]
    assert variable_groups(source) == {"A": "Data", "B": "Data", "C": "Network"}
    assert variable_groups("# %% Experiment variables\nA = 1\n\n# %% Imports\n") == {"A": ""}


def test_help_shows_docstring_variables_comments_and_defaults():
    text = describe_template(TEMPLATE)
    assert "the reference experiment" in text
    assert "  EPOCHS=360" in text and "  LEARNING_RATE=0.002" in text
    assert "Share of the training images kept for validation" in text
    assert "\n Data:\n  CROP_SHAPE=" in text and "\n Network:\n  FEATURE_MAPS=" in text and "---" not in text


@pytest.mark.parametrize(
    ("there", "asked", "chosen"),
    [("0", "0", "0"), ("0,1,2", "1", "1"), ("4,7", "0,1", "4,7"), ("0", "-1", "-1"), ("", "0", "-1")],
)
def test_gpus_are_chosen_among_the_visible_ones(there, asked, chosen, visible):
    visible(there)
    choose_gpus(asked)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == chosen


def test_a_machine_without_gpu_is_told_so(visible, capsys):
    visible("")
    choose_gpus("0")
    assert "this machine has no GPU that can be used; the CPU is used" in capsys.readouterr().out


def test_a_gpu_that_is_not_there_is_an_error(monkeypatch, visible, tmp_path):
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\necho 'GPU 0: Some Card (UUID: GPU-1)'\n")
    driver.chmod(0o755)
    visible("unset below")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(
        ValueError, match=r"--gpu 3: this machine has 1 GPU\(s\), number 0\. Use one of these, or --gpu -1"
    ):
        choose_gpus("3")
    with pytest.raises(ValueError, match="wanted a number"):
        choose_gpus("first")


SAY_ERRORS = """import sys
from utils.errors import say_error
from utils.images import crops
sys.excepthook = say_error
"""


def run_code(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)


def test_machines_are_counted_by_the_environment(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert this_machine() == (0, 1) and this_machine().is_first
    cluster = '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": %s}}'
    monkeypatch.setenv("TF_CONFIG", cluster % 1)
    assert this_machine() == (1, 2) and not this_machine().is_first
    for wrong in ("{", "{}", cluster % 2, cluster % -1, cluster.replace('"type": "worker"', '"type": "ps"') % 0):
        monkeypatch.setenv("TF_CONFIG", wrong)
        with pytest.raises(ValueError, match="^TF_CONFIG is .*; wanted the addresses of all machines"):
            this_machine()


def test_an_error_raised_on_purpose_is_one_sentence():
    result = run_code(SAY_ERRORS + "crops.crop_starts(9, 3, 2)")
    assert result.returncode == 1
    expected = "ValueError: an overlap of 2 is not possible. Use a fraction from 0 to below 1, e.g. 0.5."
    assert result.stderr.strip() == expected


def test_an_error_that_nobody_foresaw_is_short_and_keeps_its_traceback_in_a_file():
    said = run_code(SAY_ERRORS + "crops.crop_starts('9', 3)").stderr
    assert said.startswith("TypeError: '<=' not supported") and "Traceback" not in said and "crops.py, line" in said
    file = Path(said.split("The whole traceback is in ")[1].strip().removesuffix("."))
    assert "Traceback" in file.read_text()
    file.unlink()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "open('/nowhere/a.txt')",
            "FileNotFoundError: /nowhere/a.txt cannot be used: No such file or directory.",
        ),
        ("raise MemoryError", "MemoryError: there is not enough memory. A smaller BATCH_SIZE"),
        ("import errno; exec('raise OSError(errno.ENOSPC, chr(120))')", "OSError: the disk is full. Free some space"),
        ("exec('raise KeyboardInterrupt')", "Stopped."),
    ],
)
def test_whatever_ends_a_script_is_a_sentence(code, said):
    result = run_code(SAY_ERRORS + code)
    assert result.stderr.startswith(said) and result.returncode != 0 and len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "/tmp/a", "a\\b", "a\nb", "a b", "a" * 101, "x..y", "ä" * 99 + "öü"]
)
def test_what_is_no_name_of_an_experiment_is_refused(name, tmp_path):
    with pytest.raises(ValueError, match="--id .* is no name; wanted letters, digits"):
        parse_command_line(TEMPLATE, [str(ROOT), str(tmp_path), str(tmp_path / "job"), "--gpu", "-1", "--id", name])
    assert id_problem("unet-2D+a.1_ä") is None


def test_folders_that_contain_each_other_or_are_files_are_refused(tmp_path):
    data = tmp_path / "data"
    (data / "train").mkdir(parents=True)
    (tmp_path / "file").touch()
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "results").touch()

    def problems(data_dir, job_dir):
        return folder_problems(ROOT, Path(data_dir), Path(job_dir))

    assert problems(data, tmp_path / "other") == problems(data, data / "job") == problems(data, tmp_path) == []
    for data_dir, job_dir, said in [
        (data, data, "are both"),
        (data, data / "train" / "job", "lies among the images"),
        (tmp_path / "out" / "results" / "data", tmp_path / "out", "lies among the results"),
        (data, tmp_path / "file", "is a file, but results need a folder there"),
        (data, tmp_path / "job", "results is a file"),
        ("~/data", tmp_path / "other", "data_dir ~/data begins with ~"),
    ]:
        (problem,) = problems(data_dir, job_dir)
        assert said in problem
    (problem,) = folder_problems(tmp_path, data, tmp_path / "other")
    assert "is not a copy of this repository" in problem


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no such signals")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_signal_stops_with_a_sentence(name, tmp_path):
    code = (
        "import os, signal, time; from utils.command_line import parse_command_line;"
        "signal.signal(signal.SIGINT, signal.default_int_handler);"  # a job in the background ignores it
        f"parse_command_line({str(TEMPLATE)!r}, {[str(ROOT), str(tmp_path), str(tmp_path / 'job'), '--gpu', '-1']});"
        f"os.kill(os.getpid(), signal.{name}); time.sleep(5)"
    )
    result = run_code(code)
    assert result.stderr.strip() == ("Stopped." if name == "SIGINT" else f"Stopped by {name}.")


def test_flags_of_the_machine_and_an_option_of_one_template_alone():
    more = {"--scheduler": "address"}
    flags = ["--workers", "3", "--precision", "float32", "--scheduler", "tcp://node7:8786"]
    args = parse_command_line(TEMPLATE, [str(ROOT), "data", "job", "--gpu", "-1", *flags], more=more)
    assert (args.workers, args.precision, args.deterministic) == (3, "float32", False)
    assert args.scheduler == "tcp://node7:8786" and args.set == []
    args = parse_command_line(TEMPLATE, [str(ROOT), "data", "job", "--gpu", "-1"], workers=1, more=more)
    assert (args.workers, args.precision, args.scheduler) == (1, "auto", None)
