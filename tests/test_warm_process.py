"""A script in a fork of the warm process behaves as one that Python starts."""

import os
import subprocess
import sys
import time

import pytest
import warm_process

SCRIPT = """
import os, sys, threading, time

print(sys.argv[1:], os.getcwd(), os.environ.get("TF_CONFIG"), __name__, __file__)
print("an error", file=sys.stderr)
os.system("echo from a child")
if sys.argv[1] == "stays":
    time.sleep(600)
threading.Thread(target=lambda: (time.sleep(0.2), print("the thread has ended"))).start()
{"exit": lambda: sys.exit(3), "sentence": lambda: sys.exit("a sentence"), "raise": lambda: 1 / 0}[sys.argv[1]]()
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path


@pytest.mark.parametrize("end", ["exit", "sentence", "raise"])
def test_output_and_exit_status_are_those_of_a_new_process(end, script, tmp_path):
    environment = os.environ | {"KERAS_BACKEND": "tensorflow", "TF_CONFIG": end}
    warm = warm_process.run([script, end], cwd=tmp_path, env=environment)
    cold = subprocess.run(
        [sys.executable, "-u", script, end], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert warm.returncode == cold.returncode and warm.stdout == cold.stdout
    assert [line for line in warm.stderr.splitlines() if "frozen runpy" not in line][-1] == cold.stderr.splitlines()[-1]
    assert os.environ.get("TF_CONFIG") is None


def test_two_run_at_once_and_one_is_killed(script, tmp_path):
    first = warm_process.WarmProcess([script, "stays"], cwd=tmp_path)
    second = warm_process.WarmProcess([script, "exit"], cwd=tmp_path)
    assert second.wait() == 3 and first.poll() is None
    first.kill()
    start = time.monotonic()
    assert first.wait() == first.poll() == -9 and time.monotonic() - start < 60
    assert first.communicate()[0].startswith("['stays']")
