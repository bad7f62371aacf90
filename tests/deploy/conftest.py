"""A real Slurm on one node, on loopback, in a folder of its own."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from ports import free_port

CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
CredType=cred/munge
# A requeued job waits until its old credential is over.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=4
SchedulerParameters=sched_interval=2,batch_sched_delay=1
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=8000 State=UNKNOWN
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=1 State=UP
PartitionName=urgent Nodes=ALL MaxTime=INFINITE PriorityTier=2 State=UP
"""


#: They end when this process does, even where it is killed before it can stop them.
WITH_US = ("setpriv", "--pdeathsig", "KILL")


class Slurm:
    """``munged``, ``slurmctld`` and ``slurmd`` as processes, which are all gone after :meth:`stop`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.host = folder, socket.gethostname().split(".")[0]
        self.environment = os.environ | {
            "SLURM_CONF": str(folder / "slurm.conf"),
            "NUMBA_CACHE_DIR": "",  # what the other tests have compiled is there
            "DJSERVICE_INTERFACE": "lo",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        self.processes: dict[str, psutil.Popen] = {}
        ports = [free_port(), free_port()]
        for name in ("state", "spool"):
            (folder / name).mkdir()
        (folder / "slurm.conf").write_text(
            CONFIGURATION.format(host=self.host, folder=folder, ports=ports)
        )
        (folder / "munge.key").write_bytes(os.urandom(128))
        (folder / "munge.key").chmod(0o600)

    def start(self) -> None:
        files = {
            "socket": "socket",
            "key-file": "key",
            "pid-file": "pid",
            "log-file": "log",
            "seed-file": "seed",
        }
        options = [f"--{option}={self.folder}/munge.{file}" for option, file in files.items()]
        self._start(
            "munged", "--foreground", "--force", *options
        )  # it would not trust a folder in /tmp
        self._wait(lambda: (self.folder / "munge.socket").exists())
        self.start_controller()
        self._start("slurmd", "-D", "-N", self.host)
        self._wait(lambda: "idle" in self.call("sinfo", "--noheader", "--format=%T"))

    def start_controller(self) -> None:
        self._start("slurmctld", "-D")
        self._wait(lambda: "UP" in self.call("scontrol", "ping"))

    def kill_controller(self) -> None:
        self.processes["slurmctld"].kill()
        self.processes["slurmctld"].wait()

    def _start(self, name: str, *options: str) -> None:
        with open(self.folder / f"{name}.out", "ab") as log:
            self.processes[name] = psutil.Popen(
                [*WITH_US, shutil.which(name) or f"/usr/sbin/{name}", *options],
                stdout=log,
                stderr=log,
                env=self.environment,
            )

    def call(self, *command: object, cwd: Path | None = None) -> str:
        """What a command of Slurm says, right or wrong."""
        texts = [str(part) for part in command]
        done = subprocess.run(
            texts, capture_output=True, text=True, env=self.environment, cwd=cwd, timeout=300
        )
        return done.stdout + done.stderr

    def state(self, job: str) -> str:
        """PENDING, RUNNING, COMPLETED..."""
        text = self.call("scontrol", "show", "job", job)
        return next(
            (
                word.removeprefix("JobState=")
                for word in text.split()
                if word.startswith("JobState=")
            ),
            text,
        )

    def _wait(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 300
        while not condition():
            dead = [name for name, process in self.processes.items() if process.poll() is not None]
            assert not dead and time.monotonic() < end, (dead, self.logs())
            time.sleep(0.2)

    def logs(self) -> str:
        """The ends of all logs."""
        return "\n".join(
            f"{path}: {path.read_text()[-2000:]}"
            for path in sorted(self.folder.glob("*.[lo][ou][gt]"))
        )

    def stop(self) -> None:
        """End every process that was started, jobs too."""
        if "slurmd" in self.processes:
            self.call("scancel", "--full", "--signal=KILL", "--user=root")
            self.call("scancel", "--user=root")
        family = [
            child
            for process in self.processes.values()
            if process.is_running()
            for child in process.children(recursive=True)
        ]
        steps = [
            process
            for process in psutil.process_iter(["cmdline", "environ"])
            if self._is_step(process)
        ]
        for process in (*steps, *family, *self.processes.values()):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        psutil.wait_procs(list(self.processes.values()), timeout=20)

    def _is_step(self, process: psutil.Process) -> bool:
        """Whether it belongs to a job of this Slurm: those leave the family of slurmd."""
        environment = process.info["environ"] or {}
        return (
            environment.get("SLURM_CONF") == str(self.folder / "slurm.conf")
            and process.pid != os.getpid()
        )


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    programs = {
        name: shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
        for name in ("munged", "slurmctld")
    }
    programs["slurmd"] = shutil.which("slurmd", path=f"{os.environ['PATH']}:/usr/sbin")
    programs["root"] = "root" if os.geteuid() == 0 else None
    missing = [name for name, place in programs.items() if not place]
    if missing:
        required = os.environ.get("REQUIRE_SERVERS") == "1"
        (pytest.fail if required else pytest.skip)(
            f"needs {', '.join(missing)} for a Slurm of its own"
        )
    found = Slurm(tmp_path_factory.mktemp("slurm"))
    try:
        found.start()
        yield found
    finally:
        found.stop()
