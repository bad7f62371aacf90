"""A Dask cluster of real processes with runs on its scheduler, and what a run gives when nothing disturbs it."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from distributed import Client
from distributed.security import Security
from ports import free_port

import djservice as dj
from djservice.config.run import Run
from djservice.errors import ServiceError
from djservice.service.client import Service, SubmittedRun

SCRIPTS = Path(sys.executable).parent
#: Workers fork from a process that is warm (warm_nanny.py). Those of `djservice run` are spawned. Nobody looks at
#: Dask's profiles.
WORKERS = {
    "DASK_DISTRIBUTED__WORKER__MULTIPROCESSING_METHOD": "forkserver",
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "false",
}
Settings = dict[str, Any]
#: Iterations of the disturbable run.
ITERATIONS = 60


def disturbable(settings: Settings, **sections: Settings) -> Settings:
    """The same run with enough to do to be disturbed in each phase: some seconds of one processor."""
    more = {
        "optimiser": {"iterations": ITERATIONS},
        "scan": {"trees": 150},
        "spectrum": {"trees": 150},
    } | sections
    return settings | {key: settings.get(key, {}) | value for key, value in more.items()}


class Cluster:
    """``dask scheduler`` and ``dask worker`` as processes, which are all gone after :meth:`stop`."""

    def __init__(self, folder: Path, environment: dict[str, str] | None = None) -> None:
        self.port = free_port()
        self.host = "127.0.0.1"  # may have a scheme
        self.folder, self.address, self.state = (
            folder,
            f"tcp://127.0.0.1:{self.port}",
            folder / "state",
        )
        self.environment = os.environ | WORKERS | (environment or {})
        paths = (str(Path(__file__).parent), self.environment.get("PYTHONPATH"))
        self.environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        self.log = open(folder / "cluster.log", "ab")  # noqa: SIM115
        self.scheduler: psutil.Popen
        self.nannies: list[psutil.Popen] = []
        self.frozen: list[psutil.Process] = []

    def _start(self, command: str, *options: object, inside: Sequence[str] = ()) -> psutil.Popen:
        # Without Dask's dashboard, which nobody opens here: importing it is a quarter of a start. Our pages are there.
        listen = ("--host", self.host, "--dashboard-address", "127.0.0.1:0", "--no-dashboard")
        texts = [str(part) for part in (*inside, SCRIPTS / "dask", command, *listen, *options)]
        return psutil.Popen(
            texts, stdout=self.log, stderr=self.log, cwd=self.folder, env=self.environment
        )

    def start_scheduler(self, *options: object, security: Security | None = None) -> Service:
        """The scheduler on the port and the state directory of this cluster."""
        preload = ("--preload", "djservice.preload", "--state-directory", self.state)
        self.scheduler = self._start("scheduler", "--port", self.port, *options, *preload)
        end = time.monotonic() + 300
        while True:
            try:
                return dj.connect(self.address, security)
            except ServiceError:
                assert self.scheduler.poll() is None and time.monotonic() < end, self.text()

    def start_workers(self, count: int = 2, *options: object, inside: Sequence[str] = ()) -> None:
        """A nanny with so many workers of one thread; ``inside`` is a command that runs it somewhere else."""
        threads = (
            "--nworkers",
            count,
            "--nthreads",
            1,
            "--local-directory",
            self.folder,
            "--preload-nanny",
            "warm_nanny",
        )
        self.nannies.append(self._start("worker", self.address, *threads, *options, inside=inside))

    def workers(self) -> list[psutil.Process]:
        """The worker processes that are there now."""
        nannies = [nanny for nanny in self.nannies if nanny.is_running()]
        children = [child for nanny in nannies for child in nanny.children(recursive=True)]
        servers = [child for child in children if "multiprocessing.forkserver" in _command(child)]
        pids = {server.pid for server in servers}
        return [server for server in servers if server.ppid() in pids]

    def a_worker(self) -> psutil.Process:
        """The first of them, as soon as there is one."""
        end = time.monotonic() + 300
        while not (found := self.workers()):
            assert time.monotonic() < end, self.text()
            time.sleep(0.05)
        return found[0]

    def kill_workers(self) -> None:
        """All workers and their nannies, without a word."""
        for process in (*self.nannies, *self.workers()):
            process.kill()
        psutil.wait_procs(self.nannies, timeout=20)
        self.nannies = []

    def kill_scheduler(self) -> None:
        """The scheduler without a word; the workers leave by themselves."""
        self.scheduler.kill()
        self.scheduler.wait()

    def text(self) -> str:
        """What all processes logged."""
        self.log.flush()
        return (self.folder / "cluster.log").read_text()

    def left_behind(self) -> tuple[list[str], int, list[str]]:
        """Tasks, clients and threads of runs that are still on the scheduler."""

        def look(dask_scheduler: Any) -> tuple[list[str], int, list[str]]:
            import threading

            names = [
                thread.name
                for thread in threading.enumerate()
                if thread.name.startswith("djservice ")
            ]
            return list(dask_scheduler.tasks), len(dask_scheduler.clients) - 1, names

        with Client(self.address, set_as_default=False) as client:
            end = time.monotonic() + 300
            while True:
                found = client.run_on_scheduler(look)
                tasks, clients, threads = found
                if (not tasks and clients == 1 and not threads) or time.monotonic() > end:
                    return tasks, clients - 1, threads
                time.sleep(0.1)

    def stop(self) -> None:
        """End every process that was started."""
        for process in self.frozen:
            if process.is_running():
                process.send_signal(signal.SIGCONT)
        started = [*self.nannies, *([self.scheduler] if hasattr(self, "scheduler") else [])]
        family = [
            child
            for process in started
            if process.is_running()
            for child in process.children(recursive=True)
        ]
        for process in (*started, *family):
            if process.is_running():
                process.kill()
        psutil.wait_procs(started, timeout=20)
        self.log.close()


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # gone meanwhile
        return ""


@pytest.fixture(scope="module")
def make_cluster() -> Iterator[Callable[..., Cluster]]:
    """``make_cluster(folder)``: a cluster without processes yet. They end with the module, for idle ones take time too."""
    made: list[Cluster] = []

    def make(folder: Path, environment: dict[str, str] | None = None) -> Cluster:
        made.append(Cluster(folder, environment))
        return made[-1]

    yield make
    for cluster in made:
        cluster.stop()


@pytest.fixture(scope="module")
def cluster(
    make_cluster: Callable[..., Cluster], tmp_path_factory: pytest.TempPathFactory
) -> Cluster:
    """A cluster with two workers, which the tests of a module share."""
    found = make_cluster(tmp_path_factory.mktemp("cluster"))
    found.start_scheduler()
    found.start_workers()
    return found


@pytest.fixture
def service(cluster: Cluster) -> Service:
    return dj.connect(cluster.address)


@pytest.fixture(scope="session")
def undisturbed(tiny_run: Callable[[Path], Settings], done_once: Callable[..., Path]) -> Path:
    """Store of the disturbable run as nothing disturbs it, on one worker with one thread."""
    return done_once("undisturbed", lambda store: disturbable(tiny_run(store)))


@pytest.fixture
def disturbable_run(tiny: Settings) -> Run:
    return Run.from_dict(disturbable(tiny))


@pytest.fixture(scope="session")
def reach() -> Callable[[SubmittedRun, str, int], None]:
    """``reach(run, phase, done)``: wait until a run is that far."""

    def wait(run: SubmittedRun, phase: str, done: int) -> None:
        phases = ("read", "optimise", "scan", "newton", "spectrum")
        end, before = time.monotonic() + 300, None
        while time.monotonic() < end:
            now = run.status()
            progress = now["progress"]
            if (mark := progress and (progress["phase"], progress["done"])) != before:
                end, before = time.monotonic() + 300, mark  # only a hang ends the wait
            if progress and (phases.index(progress["phase"]), progress["done"]) >= (
                phases.index(phase),
                done,
            ):
                return
            assert now["state"] not in ("failed", "finished"), now
            time.sleep(0.05)
        pytest.fail(f"never came to {phase} {done}: {run.status()}")

    return wait
