"""A run on workers that come and go as Slurm jobs: python jobqueue.py RUN.yaml --jobs 20.

For a driver that may stay on a login or service node. Needs dask-jobqueue and cryptography.

- ``adapt`` and not ``scale``: a job that was cancelled or preempted is replaced.
- The lifetime is below the walltime, so workers leave in order and hand over what they hold; staggered, so not all at once.
- Whoever reaches a Dask port runs code as us: certificates, made for this cluster and gone with it.
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
    parser.add_argument("--jobs", type=int, default=4, help="at most so many jobs")
    parser.add_argument("--cores", type=int, default=8, help="of each, and worker processes in it")
    parser.add_argument("--memory", default="16GB", help="of each")
    parser.add_argument("--minutes", type=int, default=60, help="walltime of each")
    parser.add_argument(
        "--interface", help="network interface that scheduler and workers share, such as ib0"
    )
    parser.add_argument(
        "--directive", action="append", default=[], help="further, as in --directive=--account=abc"
    )
    given = parser.parse_args()
    with SLURMCluster(
        cores=given.cores,
        processes=given.cores,
        memory=given.memory,
        walltime=f"{given.minutes // 60:02d}:{given.minutes % 60:02d}:00",
        job_extra_directives=given.directive,
        worker_extra_args=[
            "--lifetime",
            f"{0.9 * given.minutes:.0f}m",
            "--lifetime-stagger",
            f"{0.05 * given.minutes:.1f}m",
        ],
        python=sys.executable,
        interface=given.interface,
        scheduler_options={"interface": given.interface, "dashboard_address": "127.0.0.1:0"},
        security=True,
        shared_temp_directory=str(
            Path.cwd()
        ),  # of the certificates, which workers on other nodes must see
        log_directory="jobqueue-logs",
    ) as cluster:
        cluster.adapt(minimum_jobs=1, maximum_jobs=given.jobs)
        security = cluster.security
        ours = {
            "ca-file": security.tls_ca_file,
            "client.cert": security.tls_client_cert,
            "client.key": security.tls_client_key,
        }
        with dask.config.set({f"distributed.comm.tls.{key}": value for key, value in ours.items()}):
            run = dj.Run.from_yaml(
                given.config, [*given.overrides, f"cluster.scheduler={cluster.scheduler_address}"]
            )
            finished = dj.run(run)
    print(f"R = {finished.radius:.3f}, store: {finished.store}")


if __name__ == "__main__":
    main()
