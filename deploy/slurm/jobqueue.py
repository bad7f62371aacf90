"""Do a run on workers that are Slurm jobs: python jobqueue.py RUN.yaml --jobs 20

The driver needs a login or service node where it may stay, dask-jobqueue and cryptography.

- It uses ``adapt`` instead of ``scale``, so that a cancelled or preempted job is replaced.
- The lifetime of workers is shorter than the walltime, so that they end in order and hand over
  their data. It is staggered, so that they do not all end at once.
- Anyone who can reach a Dask port can run code as this user. The cluster therefore has
  certificates, which are removed with it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import dask
from dask_jobqueue import SLURMCluster

import djservice as dj


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="YAML file of a run")
    parser.add_argument(
        "--set", action="append", default=[], dest="overrides", metavar="SECTION.KEY=VALUE"
    )
    parser.add_argument("--jobs", type=int, default=4, help="largest number of jobs")
    parser.add_argument(
        "--cores", type=int, default=8, help="cores of a job, with a worker process on each"
    )
    parser.add_argument("--memory", default="16GB", help="memory of a job")
    parser.add_argument("--minutes", type=int, default=60, help="walltime of a job")
    parser.add_argument(
        "--interface", help="network interface of scheduler and workers, such as ib0"
    )
    parser.add_argument(
        "--directive",
        action="append",
        default=[],
        help="another directive of Slurm, such as --directive=--account=abc",
    )
    options = parser.parse_args()
    with SLURMCluster(
        cores=options.cores,
        processes=options.cores,
        memory=options.memory,
        walltime=f"{options.minutes // 60:02d}:{options.minutes % 60:02d}:00",
        job_extra_directives=options.directive,
        # Spilled data are pickles: their folder must not be one that another user may have made.
        job_script_prologue=["scratch=$(mktemp -d)"],
        local_directory="$scratch",
        worker_extra_args=[
            "--lifetime",
            f"{0.9 * options.minutes:.0f}m",
            "--lifetime-stagger",
            f"{0.05 * options.minutes:.1f}m",
        ],
        python=sys.executable,
        interface=options.interface,
        scheduler_options={"interface": options.interface, "dashboard_address": "127.0.0.1:0"},
        security=True,
        # Workers on other nodes must see the certificates.
        shared_temp_directory=str(Path.cwd()),
        log_directory="jobqueue-logs",
    ) as cluster:
        cluster.adapt(minimum_jobs=1, maximum_jobs=options.jobs)
        security = cluster.security
        certificates = {
            "ca-file": security.tls_ca_file,
            "client.cert": security.tls_client_cert,
            "client.key": security.tls_client_key,
        }
        with dask.config.set(
            {f"distributed.comm.tls.{key}": value for key, value in certificates.items()}
        ):
            run = dj.Run.from_yaml(
                options.config,
                [*options.overrides, f"cluster.scheduler={cluster.scheduler_address}"],
            )
            finished = dj.run(run)
    print(f"R = {finished.radius:.3f}, store: {finished.store}")


if __name__ == "__main__":
    main()
