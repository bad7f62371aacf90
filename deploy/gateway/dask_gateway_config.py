"""dask-gateway with djservice: dask-gateway-server -f dask_gateway_config.py

Clusters are processes of this machine (UnsafeLocalBackend: for trials, every user is this user). On Slurm take
``dask_gateway_server.backends.jobqueue.slurm.SlurmBackend``; the rest stays.
"""

import os
from pathlib import Path

c = get_config()  # type: ignore[name-defined]  # noqa: F821

c.DaskGateway.backend_class = "dask_gateway_server.backends.local.UnsafeLocalBackend"
c.Proxy.address = os.environ.get("GATEWAY_ADDRESS", "127.0.0.1:8000")  # where users come in
c.DaskGateway.address = "127.0.0.1:0"
c.DaskGateway.authenticator_class = "dask_gateway_server.auth.SimpleAuthenticator"
c.SimpleAuthenticator.password = os.environ["GATEWAY_PASSWORD"]

# Dask has no dask-scheduler and dask-worker any more, which are dask-gateway's defaults. With the preload it takes runs.
c.ClusterConfig.scheduler_cmd = [
    "dask",
    "scheduler",
    "--preload",
    str(Path(__file__).with_name("preload.py")),
]
c.ClusterConfig.worker_cmd = ["dask", "worker"]
c.ClusterConfig.worker_cores = 1
c.ClusterConfig.worker_memory = "2 G"
c.ClusterConfig.idle_timeout = 3600  # seconds; a cluster that everyone forgot
