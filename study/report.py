"""Write report.html, the page that every run writes at its end, again from the files of its folder.

python study/report.py JOB_DIR/results/400_0 [JOB_DIR/results/400_1 ...]
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from utils.errors import speak_in_sentences
from utils.runs.report import write_report


def main():
    """Write the pages and print where they are."""
    speak_in_sentences()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", help="folders of runs, job_dir/results/<id>_<rid>")
    for folder in parser.parse_args().folders:
        print(write_report(folder))


if __name__ == "__main__":
    main()
