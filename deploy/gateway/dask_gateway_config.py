"""dask-gateway with djservice: dask-gateway-server -f dask_gateway_config.py

Clusters are processes on this machine. UnsafeLocalBackend is for trials: every user is this user.
On Slurm use ``dask_gateway_server.backends.jobqueue.slurm.SlurmBackend`` and leave the rest.
"""

import os
from pathlib import Path

c = get_config()  # type: ignore[name-defined]  # noqa: F821

c.DaskGateway.backend_class = "dask_gateway_server.backends.local.UnsafeLocalBackend"
c.Proxy.address = os.environ.get("GATEWAY_ADDRESS", "127.0.0.1:8000")  # the address for users
c.DaskGateway.address = "127.0.0.1:0"
c.DaskGateway.authenticator_class = "dask_gateway_server.auth.SimpleAuthenticator"
c.SimpleAuthenticator.password = os.environ["GATEWAY_PASSWORD"]

# dask-gateway's defaults, dask-scheduler and dask-worker, no longer exist in Dask. The preload
# makes the scheduler accept runs.
c.ClusterConfig.scheduler_cmd = [
    "dask",
    "scheduler",
    "--preload",
    str(Path(__file__).with_name("preload.py")),
]
c.ClusterConfig.worker_cmd = ["dask", "worker"]
c.ClusterConfig.worker_cores = 1
c.ClusterConfig.worker_memory = "2 G"
c.ClusterConfig.idle_timeout = 3600  # seconds until a forgotten cluster is stopped
