"""Write the README of the chart, whose reference is its values.yaml: python helm/readme.py."""

from pathlib import Path

CHART = Path(__file__).parent / "djservice"
TEXT = """\
# djservice on Kubernetes

A Dask scheduler with the service, workers, Jobs that hand runs over, and a CronJob that reprocesses. Written by `helm/readme.py`.

    helm install physics helm/djservice --namespace physics --create-namespace --values my_values.yaml

`ci/` has examples: plain Deployments (`default`), certificates with scheduled reprocessing and monitoring (`tls`), GPUs (`gpu`),
the Dask operator (`operator`). Wrong values are refused by `values.schema.json`, with a message.

**The chart was checked against schemas and was never installed on a cluster**: `helm lint --strict`, `helm template`, the schemas of
Kubernetes 1.25 and 1.37, the DaskCluster resource of dask-kubernetes 2026.3, models of the resources of cert-manager 1.17 and of the
Prometheus operator 0.80, and checkov without failed checks. Podman 4.3 played its ConfigMap, claim, Deployments, and the pods of
its Jobs and of the CronJob, for all these examples: runs to their end, and a schedule twice. It plays no Service, NetworkPolicy or
resource of others; of the operator's it played the pods that those describe. Workers with GPUs were left out.

- All pods share a volume (ReadWriteMany). Stores of runs may go to S3 instead (`storage.results`), what is reprocessed may not.
- No pod talks to the Kubernetes API: the service account has no Role and mounts no token. (The operator has rights of its own.)
- With the network policy, pods of this cluster reach each other and a name server; inputs from elsewhere need a rule in
  `networkPolicy.egress`. Prometheus needs one in `networkPolicy.dashboardFrom`.
- A lost worker costs a retry; a lost scheduler goes on from `/data/state`, to the same bits.

## Values

```yaml
{values}```
"""


def readme() -> str:
    """The whole text."""
    return TEXT.format(values=(CHART / "values.yaml").read_text())


if __name__ == "__main__":
    (CHART / "README.md").write_text(readme())
