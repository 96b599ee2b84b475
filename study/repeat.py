r"""Repeat a template over rids, and over a grid of variables, to learn how stable its scores are.

    python study/repeat.py TEMPLATE CODE_DIR DATA_DIR JOB_DIR --id 400 --rids 0-4 --set SEED=rid
    python study/repeat.py TEMPLATE CODE_DIR DATA_DIR JOB_DIR --id 401 --rids 0-2 --set SEED=rid \
        --grid LEARNING_RATE=0.001,0.0001 --at-once 2 --gpus 0,1

Each run is a process of its own and leaves job_dir/results/<id>_<rid>/ as if it had been started by hand. Finished runs
are skipped, those that were cut off are resumed: after a crash or a stop, start the same command again. It ends with
status 1 if a run failed.
"""

import argparse
import shlex
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from study.repetition_plan import parse_gpus, plan_runs
from study.repetitions import carry_out
from utils.errors import say_error
from utils.runs.record import run_state


def parse_arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("template", help="the template")
    parser.add_argument("code_dir", help="folder of this repository")
    parser.add_argument("data_dir", help="data folder, as for the template")
    parser.add_argument("job_dir", help="results go to job_dir/results/<id>_<rid>/, what is printed to repeat_logs/")
    parser.add_argument("--id", required=True, help="name of the experiment")
    parser.add_argument("--rids", default="0-4", help="numbers of the repetitions, as 0-4 or 0,1,7 (default 0-4)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="as for the template; NAME=rid is the number"
    )
    parser.add_argument(
        "--grid", action="append", default=[], metavar="NAME=VALUE,VALUE", help="one experiment for each combination"
    )
    parser.add_argument("--at-once", type=int, help="runs at the same time (default: as many as --gpus)")
    parser.add_argument(
        "--gpus", default="0", help="GPU numbers, one a run, taken in turns; -1 for the CPU (default 0)"
    )
    parser.add_argument("--list", action="store_true", help="only print what would be done")
    return parser.parse_args()


def main():
    """Plan the runs and carry them out."""
    sys.excepthook = say_error
    # A cluster's stop becomes an ordinary end, so that the runs are stopped too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    args = parse_arguments()
    gpus, folders = parse_gpus(args.gpus), (args.code_dir, args.data_dir, args.job_dir)
    runs = plan_runs(args.template, folders, id=args.id, rids=args.rids, assignments=args.set, grid=args.grid)
    seeds = {run.settings["SEED"] for run in runs if "SEED" in run.settings}
    if len(seeds) == 1 and len({run.rid for run in runs}) > 1:
        print(f"All repetitions have SEED {seeds.pop()}: they show what the hardware scatters. Add --set SEED=rid.")
    if args.list:
        print("\n".join(f"{run_state(run.folder):<9}{shlex.join(run.command)}" for run in runs))
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
