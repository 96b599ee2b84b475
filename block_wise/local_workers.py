"""Worker processes on this machine, which find this repository, are closed to strangers, and end with the run."""

import os
import sys
import time

from utils.errors import REPOSITORY


def local_cluster(workers, scratch, log_folder, processes):
    """Start a scheduler in this process and workers in others, which do not import the template again.

    Parameters
    ----------
    workers : int
        Number of processes.
    scratch : Path
        A folder that only this user can read.
    log_folder : Path
        Gets ``worker_<number>.log`` of each.
    processes : list
        Gets the processes that watch each worker and start it again.

    Returns
    -------
    distributed.SpecCluster
    """
    import asyncio
    import json
    import logging

    import dask
    from distributed import Scheduler, SpecCluster
    from distributed.deploy.subprocess import SubprocessWorker

    log_folder.mkdir(parents=True, exist_ok=True)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = str(max(1, cores // workers))
    environment = {name: threads for name in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS")}
    security, keys = _security_of_this_run(scratch)

    class Worker(SubprocessWorker):
        async def _start(self):
            specification = json.dumps({"cls": self.worker_class, "opts": self.worker_kwargs})
            told = [f"{name}={value}" for name, value in keys.items()]
            command = ["env", *told, sys.executable, "-m", "dask", "spec", self.scheduler, "--spec", specification]
            with (log_folder / f"worker_{self.worker_kwargs['name']}.log").open("ab") as log:
                self.process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
            processes.append(self.process)

    shared = {"nthreads": 1, "memory_limit": 0, "death_timeout": 60, "local_directory": str(scratch)}
    shared |= {"env": environment, "host": "127.0.0.1", "protocol": "tls://"}
    specification = {
        number: {"cls": Worker, "options": {"worker_kwargs": shared | {"name": number}}} for number in range(workers)
    }
    options = {"host": "127.0.0.1", "port": 0, "dashboard": False, "dashboard_address": "127.0.0.1:0"}
    options |= {"protocol": "tls://", "security": security}
    described = {"scheduler": {"cls": Scheduler, "options": options}, "security": security, "name": "blocks"}
    with dask.config.set({"distributed.scheduler.http.routes": []}):  # no web pages
        return SpecCluster(specification, silence_logs=logging.CRITICAL, **described)


def _security_of_this_run(folder):
    """Make keys without which nobody on this machine can talk to the scheduler or a worker.

    They are in a folder that only this user can read; worker processes learn where from their environment.
    """
    try:
        from distributed.security import Security

        security = Security.temporary()
    except ImportError as error:
        raise ImportError(
            "--workers needs the package cryptography, which is not installed: pip install -r "
            "env/requirements-big.txt, or --workers 0"
        ) from error
    texts = {"CERT": security.tls_worker_cert, "KEY": security.tls_worker_key}
    for name, text in texts.items():
        (folder / f"{name}.pem").write_text(text)
    prefix = "DASK_DISTRIBUTED__COMM__"
    keys = {
        f"{prefix}TLS__{role}__{name}": str(folder / f"{name}.pem")
        for role in ("WORKER", "CLIENT", "SCHEDULER")
        for name in texts
    }
    return security, keys | {f"{prefix}TLS__CA_FILE": str(folder / "CERT.pem"), f"{prefix}REQUIRE_ENCRYPTION": "True"}


def orphans_end(distributed):
    """Return plugins with which worker processes, and what watches them, end when the process that started them did.

    Parameters
    ----------
    distributed : module
        The package.

    Returns
    -------
    tuple of distributed.WorkerPlugin and distributed.NannyPlugin
    """

    def end_with_parent():
        import threading

        def watch(parent):
            while os.getppid() == parent:
                time.sleep(0.5)
            os._exit(1)

        threading.Thread(target=watch, args=(os.getppid(),), daemon=True).start()

    class WithParent(distributed.WorkerPlugin):
        name = "ends-with-its-parent"

        def setup(self, worker):
            end_with_parent()

    class NannyWithParent(distributed.NannyPlugin):
        name = "nanny-ends-with-its-parent"

        def setup(self, nanny):
            end_with_parent()

    return WithParent(), NannyWithParent()


def worker_setup(distributed, gpus):
    """Return what each worker does first, also one that starts later: find this repository, choose its GPU.

    Parameters
    ----------
    distributed : module
        The package.
    gpus : str
        As ``--gpu``.

    Returns
    -------
    distributed.WorkerPlugin
    """
    folder, several = str(REPOSITORY), gpus.split(",")

    # A class within a function travels as code, so it works before the worker can import this repository.
    class Setup(distributed.WorkerPlugin):
        name = "em-segmentation"

        def setup(self, worker):
            if folder not in sys.path:
                sys.path.insert(0, folder)
            if several != ["-1"]:
                from utils.command_line import choose_gpus

                choose_gpus(several[int(worker.name) % len(several)])

    return Setup()
