"""A folder that is reprocessed, and what is in it."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
import zarr

from djservice import examples
from djservice.config.run import Run
from djservice.reprocessing import results
from djservice.reprocessing.config import Reprocessing
from djservice.reprocessing.update import reprocess

Settings = dict[str, Any]


class Quiet:
    """A watch that keeps what is said, and does something when a phase begins."""

    def __init__(self, at: Callable[[str], None] = lambda phase: None) -> None:
        self.said: list[str] = []
        self.at = at

    def phase(self, name: str, total: int, done: int) -> None:
        self.at(name)

    def step(self, numbers: dict[str, float]) -> None:
        pass

    def say(self, text: str) -> None:
        self.said.append(text)


class Place:
    """A folder with two files to apply a fit to, its configuration, and how to reprocess it."""

    def __init__(self, folder: Path, run: Settings, scheduler: str, **more: Any) -> None:
        self.folder, self.data, self.out, self.scheduler = (
            folder,
            folder / "data",
            folder / "out",
            scheduler,
        )
        self.data.mkdir()
        for name in ("a", "b"):
            self.add(name)
        (folder / "run.yaml").write_text(yaml.safe_dump(run))
        given = {"run": str(folder / "run.yaml"), "folder": str(self.out), "lease": 60.0} | more
        given["apply"] = {"files": f"{self.data}/*.root", "pt_min": 2.0, "bundle_events": 100}
        given["apply"] |= more.get("apply", {})
        (folder / "nightly.yaml").write_text(yaml.safe_dump(given))

    def add(self, name: str) -> Path:
        return Path(shutil.copy(examples.path("ZHllbb_200"), self.data / f"{name}.root"))

    @property
    def settings(self) -> tuple[Reprocessing, Run]:
        settings = Reprocessing.from_yaml(self.folder / "nightly.yaml")
        return settings, settings.read_run([f"cluster.scheduler={self.scheduler}"])

    def reprocess(self, watch: Quiet | None = None) -> Any:
        return reprocess(*self.settings, watch or Quiet())

    @property
    def call(self) -> list[str]:
        """The arguments of the command line."""
        return ["reprocess", str(self.folder / "nightly.yaml"), "--scheduler", self.scheduler]

    def command(self, code: str = "") -> subprocess.Popen[str]:
        """The command line in a process of its own, after some code."""
        code = f"{code}\nfrom djservice.cli import main\nmain({self.call!r})"
        return subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def applied(self) -> dict[str, Path]:
        """Name of each file -> the store of what came of it, as the latest result has it."""
        manifest = results.read_manifest(self.out / "latest")
        return {
            Path(each["inputs"][0]["path"]).stem: self.out / each["store"]
            for each in manifest["applied"]
        }


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, with the time of its last change."""
    return {
        str(path.relative_to(folder)): path.read_bytes() + str(path.stat().st_mtime_ns).encode()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def arrays(path: Path) -> dict[str, bytes]:
    return {
        name: array[...].tobytes() for name, array in zarr.open_group(str(path), mode="r").arrays()
    }
