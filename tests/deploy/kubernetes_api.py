"""What a client that submits Jobs needs of a Kubernetes API server. Their containers run as processes of this machine.

Each has a fresh working directory, which all see at the same path, and shares the rest of the file system, but for what is hidden;
of the network it has a loopback device of its own.
Every request body is held against the schemas of Kubernetes. It is no Kubernetes: nothing is scheduled, confined or retried.
"""

from __future__ import annotations

import json
import re
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import kubernetes_validate

KINDS = {
    "secrets": {"apiVersion": "v1", "kind": "Secret"},
    "jobs": {"apiVersion": "batch/v1", "kind": "Job"},
}


class KubernetesApi(ThreadingHTTPServer):
    """A server on loopback with the Jobs that it was given, by name, and their output in ``folder``; they see ``hidden`` empty."""

    daemon_threads = True

    def __init__(
        self, folder: Path, hidden: Path, environment: dict[str, str], version: str
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.hidden, self.environment, self.version = (
            folder,
            hidden,
            environment,
            version,
        )
        self.jobs: dict[str, dict[str, Any]] = {}
        self.secrets: dict[str, dict[str, Any]] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        (folder / "workdir").mkdir()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def write_client_configuration(self, path: Path) -> None:
        """What kubectl has in ~/.kube/config."""
        cluster = {
            "name": "here",
            "cluster": {"server": f"http://127.0.0.1:{self.server_address[1]}"},
        }
        context = {"name": "here", "context": {"cluster": "here", "user": "me"}}
        known = {
            "clusters": [cluster],
            "contexts": [context],
            "users": [{"name": "me", "user": {}}],
        }
        path.write_text(
            json.dumps({"apiVersion": "v1", "kind": "Config", "current-context": "here"} | known)
        )

    def create(self, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        """A Secret is kept, a Job started."""
        kubernetes_validate.validate(
            KINDS[kind] | body, self.version, strict=True
        )  # these two follow from the path
        name = body["metadata"]["name"]
        if kind == "secrets":
            self.secrets[name] = body
            return body
        (container,) = body["spec"]["template"]["spec"]["containers"]
        place = self.folder / name
        place.mkdir()
        with open(self.folder / f"{name}.log", "wb") as log:
            self.processes[name] = subprocess.Popen(
                self.command(container, place), env=self.environment, stdout=log, stderr=log
            )
        self.jobs[name] = body
        return body

    def command(self, container: dict[str, Any], place: Path) -> list[str | Path]:
        """What runs a container: a process with a fresh working directory, which all see at the same path."""
        inside = 'ip link set lo up && mount -t tmpfs none "$0" && mount --bind "$1" "$2" && cd "$2" && shift 2 && exec "$@"'
        apart = ["unshare", "--mount", "--net", "sh", "-c", inside]
        folders = [self.hidden, place, self.folder / "workdir"]
        return [*apart, *folders, *container["command"], *container["args"]]

    def status(self, name: str) -> dict[str, int]:
        code = self.processes[name].poll()
        return {"active": 1} if code is None else {"succeeded": 1} if code == 0 else {"failed": 1}

    def stop(self) -> None:
        """The server and all containers."""
        self.shutdown()
        self.server_close()
        for process in self.processes.values():
            process.kill()
            process.wait()


class _Handler(BaseHTTPRequestHandler):
    server: KubernetesApi
    #: Of a namespace: secrets and pods, or jobs.
    PATH = re.compile(
        r"/(?:api/v1|apis/batch/v1)/namespaces/jets/(secrets|jobs|pods)(?:/([^/?]+))?(/status)?(?:\?.*)?"
    )

    def _answer(self) -> None:
        matched = self.PATH.fullmatch(self.path)
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        if matched is None:
            return self._send(404, {"kind": "Status", "message": f"no {self.path} here"})
        kind, name, _ = matched.groups()
        kept = self.server.secrets if kind == "secrets" else self.server.jobs
        if self.command == "POST":
            try:
                return self._send(201, self.server.create(kind, body))
            except kubernetes_validate.ValidationError as error:
                return self._send(422, {"kind": "Status", "message": str(error)})
        if kind == "pods":  # a Job's own status says enough
            return self._send(200, {"kind": "PodList", "apiVersion": "v1", "items": []})
        if name not in kept:
            return self._send(404, {"kind": "Status", "message": f"no {name} here"})
        if self.command == "DELETE":
            return self._send(200, {"kind": "Status", "status": "Success"})
        return self._send(200, kept[name] | {"status": self.server.status(name)})

    do_GET = do_POST = do_DELETE = _answer

    def _send(self, code: int, answer: dict[str, Any]) -> None:
        text = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Quiet."""
