"""Test of the picture of all transforms in the documentation."""

import subprocess
import sys
from pathlib import Path

from PIL import Image

from generators.pair_generator import SWITCHES

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "figures"


def test_the_figure_is_drawn_shows_every_transform_and_is_small(tmp_path):
    script = FOLDER / "draw_augmentations.py"
    assert not [switch for switch in SWITCHES if f'"{switch}"' not in script.read_text()]
    command = [sys.executable, script, tmp_path / "drawn.png"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert answer.returncode == 0, answer.stderr[-3000:]
    drawn, published = Image.open(tmp_path / "drawn.png"), Image.open(FOLDER / "augmentations.png")
    assert drawn.size == published.size
    assert len(set(drawn.convert("L").tobytes())) > 150
    assert (FOLDER / "augmentations.png").stat().st_size < 600_000
