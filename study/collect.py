"""Collect the scores of repeated experiments into tables of mean and standard deviation, and box plots.

    python study/collect.py JOB_DIR/results --ids 400 401 --output tables
    python study/collect.py JOB_DIR/results --ids "400*" --published Lucchi --output tables

Writes scores_of_runs.csv, summary.csv, summary.md (printed too) and a box plot for each metric. --published puts the
scores of study/published_scores.csv on that data set beside those of the same template.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from study.study_runs import read_published, read_runs
from study.study_tables import METRICS, write_study
from utils.errors import speak_in_sentences

PUBLISHED = Path(__file__).resolve().with_name("published_scores.csv")


def parse_arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", help="job_dir/results")
    parser.add_argument("--ids", nargs="+", default=["*"], help="experiments, * stands for anything (default all)")
    parser.add_argument("--output", default="tables", help="folder of the tables and box plots (default tables)")
    parser.add_argument("--metrics", nargs="+", default=METRICS, help=f"default {' '.join(METRICS)}")
    parser.add_argument("--published", metavar="DATA_SET", help="data set of the published scores beside ours")
    parser.add_argument("--unfinished", action="store_true", help="use the scores of unfinished runs too")
    return parser.parse_args()


def main():
    """Read the runs, write and print the tables."""
    speak_in_sentences()
    args = parse_arguments()
    published = read_published(PUBLISHED, args.published) if args.published else []
    runs, notes = read_runs(args.results, args.ids, unfinished=args.unfinished)
    page = write_study(args.output, runs, metrics=args.metrics, published=published, notes=notes)
    print(f"{page}\nTables and box plots: {args.output}")


if __name__ == "__main__":
    main()
