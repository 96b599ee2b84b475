"""Two devices, and two machines, that share each batch train what one device trains."""

import csv
import json
import os
import socket
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest
import running
import warm_process
from running import read_scores
from test_2d_templates import TOY

TEMPLATE = "U-Net_2D_template.py"
FLOAT32 = ("--precision", "float32")
# 42 crops to train on and six to validate with: the last batches are smaller than the others.
SHORT = TOY | {"LOSS": "bce_dice", "BATCH_SIZE": 4, "Z_FILTER_SIZE": 0, "SCHEDULE": "None"}
TWO_DEVICES = Path(__file__).with_name("on_two_devices.py")


def run_on_two_devices(data, job, *flags, **settings):
    words = running.command(TEMPLATE, data, job, *FLOAT32, *flags, **SHORT | settings)
    return warm_process.run([TWO_DEVICES, *words[2:]], cwd=running.ROOT.parent)


def start_machines(count, data, job, *flags, **settings):
    """Start one process for each machine, as a cluster would; no forks, which leave a cluster without a word."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{port.getsockname()[1]}" for port in sockets]
    for port in sockets:
        port.close()
    machines = []
    for number in range(count):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": number}}
        environment = os.environ | {"KERAS_BACKEND": "tensorflow", "TF_CONFIG": json.dumps(task)}
        command = running.command(TEMPLATE, data, job, *FLOAT32, *flags, **SHORT | settings)
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        machines.append(subprocess.Popen(command, env=environment, **options))
    return machines


def outputs_of(machines):
    try:
        printed = [machine.communicate(timeout=600)[0] for machine in machines]
    finally:
        for machine in machines:
            machine.kill()
    assert [machine.returncode for machine in machines] == [0] * len(machines), "\n\n".join(printed)
    return printed


def read_history(folder):
    names = ("loss", "foreground_iou", "val_loss", "val_foreground_iou")
    with (folder / "history.csv").open() as file:
        return [[float(row[name]) for name in names] for row in csv.DictReader(file)]


def read_weights(folder):
    found = {}
    with h5py.File(folder / "checkpoints" / "best.weights.h5") as file:
        file["layers"].visititems(lambda name, part: found.update({name: part[()]} if hasattr(part, "shape") else {}))
    return found


def assert_same_training(folder, reference):
    np.testing.assert_allclose(read_history(folder), read_history(reference), rtol=2e-4, atol=2e-5)
    ours, theirs = read_weights(folder), read_weights(reference)
    assert ours.keys() == theirs.keys() and len(ours) > 10
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], atol=2e-4, err_msg=name)
    scores, expected = read_scores(folder), read_scores(reference)
    assert scores.keys() == expected.keys()
    np.testing.assert_allclose(*(np.array(list(part.values()), float) for part in (scores, expected)), atol=2e-3)


@pytest.fixture(scope="module")
def on_one(toy_data, tmp_path_factory):
    job = tmp_path_factory.mktemp("job")
    result = running.run(TEMPLATE, toy_data, job, "--id", "one", *FLOAT32, **SHORT)
    assert result.returncode == 0, result.stderr
    return job / "results" / "one_0"


def test_two_devices_train_what_one_does(toy_data, tmp_path, on_one):
    result = run_on_two_devices(toy_data, tmp_path, "--id", "two")
    assert result.returncode == 0, result.stderr
    assert "2 devices share each batch of 4" in result.stdout
    folder = tmp_path / "results" / "two_0"
    assert_same_training(folder, on_one)
    # As a run that was killed behind its last epoch.
    before, environment = read_scores(folder), json.loads((folder / "environment.json").read_text())
    del environment["end"]
    (folder / "environment.json").write_text(json.dumps(environment))
    result = run_on_two_devices(toy_data, tmp_path, "--id", "two", "--resume")
    assert result.returncode == 0, result.stderr
    assert "Resuming after epoch 2 of 2" in result.stdout and read_scores(folder) == before


def test_two_machines_train_what_one_does_and_the_first_evaluates(toy_data, tmp_path, on_one):
    first, second = outputs_of(start_machines(2, toy_data, tmp_path, "--id", "two"))
    assert "2 devices share each batch of 4" in first and "the first one evaluates" in second
    assert "Test Foreground IoU (full)" in first and "Test Foreground IoU" not in second
    assert_same_training(tmp_path / "results" / "two_0", on_one)
    assert {path.name for path in (tmp_path / "machines").iterdir()} == {"two_0_1"}
    assert not (tmp_path / "machines" / "two_0_1" / "checkpoints").exists()


def test_a_batch_that_cannot_be_shared_is_refused(toy_data, tmp_path):
    result = run_on_two_devices(toy_data, tmp_path, BATCH_SIZE=1)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "BATCH_SIZE is 1, which 2 devices cannot share evenly. Take 2, or" in result.stderr
