r"""Repeat a template over rids, and over a grid of variables, to learn how stable its scores are.

    python study/repeat.py TEMPLATE CODE_DIR DATA_DIR JOB_DIR --id 400 --rids 0-4
    python study/repeat.py TEMPLATE CODE_DIR DATA_DIR JOB_DIR --id 401 --rids 0-2 --grid LEARNING_RATE=0.001,0.0001 \
        --at-once 2 --gpus 0,1

Each run is a process of its own and leaves job_dir/results/<id>_<rid>/ as if you had started it by hand. Each
repetition has its own seed, SEED + rid. Finished runs are skipped and interrupted ones resumed: after a crash or a
stop, give the same command again. It ends with status 1 if a run failed.
"""

import argparse
import shlex
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from study.repetition_plan import parse_gpus, plan_runs
from study.repetitions import carry_out
from utils.errors import speak_in_sentences


def parse_arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("template", help="the template")
    parser.add_argument("code_dir", help="folder of this repository")
    parser.add_argument("data_dir", help="data folder, as for the template")
    parser.add_argument("job_dir", help="results go to job_dir/results/<id>_<rid>/, output to job_dir/repeat_logs/")
    parser.add_argument("--id", required=True, help="name of the experiment")
    parser.add_argument("--rids", default="0-4", help="numbers of the repetitions, as 0-4 or 0,1,7 (default 0-4)")
    parser.add_argument(
        "--keep-seed", action="store_true", help="seed SEED in every repetition, as the published study"
    )
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="as for the template")
    parser.add_argument(
        "--grid", action="append", default=[], metavar="NAME=VALUE,VALUE", help="one experiment for each combination"
    )
    parser.add_argument("--at-once", type=int, help="runs at the same time (default: as many as --gpus)")
    parser.add_argument(
        "--gpus", default="0", help="GPU numbers, taken in turns, one for each run; -1 for the CPU (default 0)"
    )
    parser.add_argument("--list", action="store_true", help="only print the commands and how far each run is")
    return parser.parse_args()


def main():
    """Plan the runs and carry them out."""
    speak_in_sentences()
    # When a cluster stops this program, it ends in an orderly way and stops its runs.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    args = parse_arguments()
    gpus, folders = parse_gpus(args.gpus), (args.code_dir, args.data_dir, args.job_dir)
    options = {"assignments": args.set, "grid": args.grid, "keep_seed": args.keep_seed}
    runs = plan_runs(args.template, folders, id=args.id, rids=args.rids, **options)
    if args.keep_seed:
        print("All repetitions have the same seed: their scores differ only by what the hardware scatters.")
    if args.list:
        print("\n".join(f"{run.record.state:<9}{shlex.join(run.command)}" for run in runs))
        return
    outcomes = carry_out(runs, at_once=len(gpus) if args.at_once is None else args.at_once, gpus=gpus)
    left = [f"{name} ({outcome})" for name, outcome in outcomes.items() if outcome in ("failed", "busy")]
    if left:
        print(
            f"{len(left)} of {len(runs)} runs are not done: {', '.join(left)}. Their output is in {runs[0].log.parent}."
        )
        sys.exit(1)
    print(f"All {len(runs)} runs are finished. Next: python study/collect.py {Path(args.job_dir) / 'results'}")


if __name__ == "__main__":
    main()
