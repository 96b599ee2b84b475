"""Tests of the commands on the pages: their scripts are here and know the options and variables that are used."""

import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from utils.template_text import template_variables

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SCRIPT = re.compile(r"(?:/code/)?((?:\w+/)+[\w+$&{}./-]+\.py)")
PLACEHOLDER = re.compile(r"^\W*(MEASURED|TODO|TBD|FIXME|XXX)\W*$", flags=re.MULTILINE)


def commands_of(text):
    """Return the commands in the bash blocks of a page, each as a list of words."""
    commands = []
    for block in re.findall(r"^```bash\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            commands.append([])
            for word in shlex.split(line, comments=True):
                if word == "&&":
                    commands.append([])
                else:
                    commands[-1].append(word)
    return [words for words in commands if words]


def script_calls(text):
    """Return script and arguments of each command that calls one of ours; a shell variable in a name becomes ``*``."""
    calls = []
    for words in commands_of(text):
        found = [(number, SCRIPT.fullmatch(word)) for number, word in enumerate(words)]
        found = [(number, match[1]) for number, match in found if match]
        if found:
            number, name = found[0]
            calls.append((re.sub(r"\$\{?\w+\}?", "*", name), words[number + 1 :]))
    return calls


@cache
def help_of(script):
    command = [sys.executable, ROOT / script, "--help"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def problems_of(script, arguments):
    """Return what is wrong with one call."""
    scripts = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob(script))
    if not scripts:
        return [f"there is no {script}"]
    options = {word.partition("=")[0] for word in arguments if re.match(r"--?[a-z]", word)}
    known = set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", help_of(scripts[0]))) if options else set()
    problems = [f"{scripts[0]} does not know {option}" for option in sorted(options - known)]
    template = scripts[0]
    if script == "study/repeat.py":
        template = sorted(ROOT.glob(re.sub(r"\$\{?\w+\}?", "*", arguments[0])))[0].relative_to(ROOT).as_posix()
    pairs = zip(arguments, arguments[1:], strict=False)
    names = {value.partition("=")[0].upper() for option, value in pairs if option in ("--set", "--grid")}
    variables = {name for name, _, _ in template_variables((ROOT / template).read_text())} if names else set()
    return problems + [f"{template} has no variable {name}" for name in sorted(names - variables)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_scripts_options_and_variables_of_commands_are_there(page):
    assert not [problem for call in script_calls(page.read_text()) for problem in problems_of(*call)]


def test_there_are_commands_and_mistakes_in_them_are_found():
    assert sum(len(script_calls(page.read_text())) for page in PAGES) > 20
    page = """```bash
python -u templates/U-Net_2D_template.py $a $b $c --gpus 0 --set EPOCH=3 \\
    --set "LOSS=dice"  # --nothing
cd x && python study/repeat.py templates/${network}_2D_template.py . . . --set SEED=0 --grid RATE=1,2
python /code/templates/gone.py
```"""
    assert [problem for call in script_calls(page) for problem in problems_of(*call)] == [
        "templates/U-Net_2D_template.py does not know --gpus",
        "templates/U-Net_2D_template.py has no variable EPOCH",
        "templates/Attention_U-Net_2D_template.py has no variable RATE",
        "there is no templates/gone.py",
    ]


def test_variables_that_the_text_sets_are_those_of_a_template():
    templates = [*ROOT.glob("templates/**/*.py"), *ROOT.glob("sota_implementations/*/*_template*.py")]
    known = {name for path in templates for name, _, _ in template_variables(path.read_text())} | {"NAME"}
    for page in PAGES:
        named = set(re.findall(r"""--(?:set|grid)\s+["']?([A-Z]\w+)=""", page.read_text()))
        assert named <= known, f"{page.name}: {named - known}"


def test_the_measured_repetitions_have_the_settings_of_the_readme():
    footnote = re.search(r"^\[\^2\]: (.*?)^$", (ROOT / "README.md").read_text(), flags=re.MULTILINE | re.DOTALL)[1]
    wanted = shlex.split(" ".join(re.search("`(.*?)`", footnote, flags=re.DOTALL)[1].split()))
    calls = [words for name, words in script_calls((ROOT / "docs" / "stability.md").read_text()) if "1,2,42" in words]
    assert len(wanted) > 20 and [words[-len(wanted) :] for words in calls] == [wanted]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_holds_a_placeholder(page):
    assert not PLACEHOLDER.findall(page.read_text())


def test_placeholders_are_found():
    assert PLACEHOLDER.findall("a\n\nMEASURED\n\n- TODO:\n") == ["MEASURED", "TODO"]
    assert not PLACEHOLDER.findall("It is MEASURED so.\n# Measured\n")
