"""reprocess(settings): do again what its inputs, its settings or the code call for, and nothing where nothing changed.

A radius that is learned is a statement about all events, so another set of files, or a changed one, means another fit, over
all of them, from its start: then it depends on what it is made from, and not on the schedules before. What is *applied*
to a file depends on that file and on the fit alone, so only new and changed files are read.

Results are named after what they are made from, and are never changed once they are whole::

    FOLDER/fits/NAME.zarr       the store of a run (djservice/store/)
    FOLDER/applied/NAME.zarr    a file's events with that fit (djservice/reprocessing/apply.py)
    FOLDER/results/TIME-NAME/   one reprocessing: manifest.json, and links to the fit and to what was applied
    FOLDER/latest               a link to the last of them, moved when all of it is there

So whatever is killed, the same command goes on with what was done, and ``latest`` leads to something whole.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from djservice.config.run import Run
from djservice.core.provenance import code_hash
from djservice.errors import InputError, RunError
from djservice.reprocessing import results
from djservice.reprocessing.config import Reprocessing
from djservice.reprocessing.file_identity import (
    MANIFEST_FORMAT,
    FileIdentity,
    differences,
    identify,
)
from djservice.reprocessing.lease import Lease
from djservice.reprocessing.plan import Plan, make_plan

if TYPE_CHECKING:  # nothing heavy is imported before there is something to do
    from djservice.core.progress import Watch


@dataclass(frozen=True)
class Outcome:
    """What came of a reprocessing.

    Attributes
    ----------
    result
        Folder of the latest result.
    reasons
        What had changed; empty if nothing had, and nothing was done.
    left_out
        Bad inputs that are not in it, in words.
    """

    result: Path
    reasons: tuple[str, ...]
    left_out: tuple[str, ...]


def reprocess(settings: Reprocessing, run: Run, watch: Watch) -> Outcome:
    """Bring the latest result up to date.

    Raises
    ------
    HeldError
        If another process is at it.
    DjserviceError
        Whatever goes wrong; ``latest`` stays, and the same command goes on with what was done.
    """
    folder = Path(settings.folder)
    current = _current(folder, make_plan(settings, run))
    if current is not None:
        return current
    with Lease(folder, settings.lease) as lease:
        if lease.taken_from:
            watch.say(f"took over from {lease.taken_from}, whose lock was not renewed")
        plan = make_plan(
            settings, run
        )  # again, for what another process did meanwhile need not be done twice
        current = _current(folder, plan)
        if current is not None:
            return current
        reasons = _reasons(folder, plan)
        for reason in reasons:
            watch.say(reason)
        result = results.find(folder, plan.name)  # the inputs are as they were once before
        if result is None:
            left_out = _make(folder, settings, run, plan, watch)
            result = results.write(folder, _manifest(folder, plan, reasons, left_out, lease.owner))
        with lease.kept():
            results.point(folder, result)
        return Outcome(result, tuple(reasons), tuple(results.read_manifest(result)["left_out"]))


def _current(folder: Path, plan: Plan) -> Outcome | None:
    """The latest result, if it is what the plan asks for and all of it is there."""
    manifest = results.latest(folder)
    if manifest is None or manifest["name"] != plan.name:
        return None
    if not all((folder / store).is_dir() for store in results.stores(manifest)):
        return None
    return Outcome(folder / (folder / "latest").readlink(), (), tuple(manifest["left_out"]))


def _reasons(folder: Path, plan: Plan) -> list[str]:
    """Why there is something to do, in words."""
    latest = results.latest(folder)
    if latest is None:
        return ["there is no result yet"]
    was = {name: _identities(files) for name, files in latest["fit"]["files"].items()}
    reasons = []
    for name in {**was, **plan.inputs}:
        reasons += [
            f"{name}: {text}" for text in differences(was.get(name, []), plan.inputs.get(name, []))
        ]
    reasons += [
        f"apply: {text}"
        for text in differences(_identities(latest["files"]), list(plan.files.values()))
    ]
    if latest["code"] != code_hash():
        reasons.append(f"the code is {code_hash()}, and was {latest['code']}")
    if latest["settings"] != plan.settings:
        reasons.append("the settings are others")
    return reasons or ["stores of the latest result are gone"]


def _identities(files: Sequence[Mapping[str, Any]]) -> list[FileIdentity]:
    return [FileIdentity(**file) for file in files]


def _make(folder: Path, settings: Reprocessing, run: Run, plan: Plan, watch: Watch) -> list[str]:
    """Fit and apply whatever is not there yet; returns, in words, the inputs of which nothing can be read."""
    from djservice.fit.plan import RunPlan
    from djservice.on_dask.session import client_for, run_to_completion
    from djservice.reprocessing.apply import apply_fit
    from djservice.runs.run import run_on
    from djservice.store.run_store import Store

    path = folder / plan.fit_store
    own = run.model_copy(update={"output": run.output.model_copy(update={"store": str(path)})})
    own_plan = RunPlan(own)
    own_plan.check()
    missing = [file for file, store in plan.applied.items() if not (folder / store).is_dir()]
    fitted = path.is_dir() and Store.read(path).attributes["status"] == "finished"
    left_out: list[str] = []

    async def work() -> None:
        async with client_for(own, watch) as client:
            if not fitted:
                await run_on(client, own_plan, watch)
                _check_unchanged(
                    path,
                    plan.inputs,
                    {name: list(identify(of).values()) for name, of in run.inputs.items()},
                )
            watch.phase("apply", len(plan.files), len(plan.files) - len(missing))
            for file in missing:
                assert settings.apply is not None
                section = settings.apply.model_copy(update={"files": (file,)})
                known = {
                    "djservice_applied": MANIFEST_FORMAT,
                    "fit": plan.fit_store,
                    "file": asdict(plan.files[file]),
                }
                target = folder / plan.applied[file]
                try:
                    await apply_fit(
                        client, own_plan, Store.read(path), section, target, known, watch
                    )
                    _check_unchanged(target, plan.files[file], identify(section)[file])
                except InputError as error:  # nothing of the file can be read
                    if section.bad_inputs == "fail":
                        raise
                    watch.say(f"left out: {error}")
                    left_out.append(str(error))
                watch.step({})

    if missing or not fitted:
        run_to_completion(work(), watch)
    return left_out


def _check_unchanged(store: Path, planned: Any, now: Any) -> None:
    """Remove a store whose files are no longer those that it is named after: nobody knows what was read."""
    if now != planned:
        shutil.rmtree(store)
        raise RunError(
            f"{store}: an input changed while it was read, so it was removed. latest is as it was; the same command starts from the "
            "inputs as they are now."
        )


def _manifest(
    folder: Path, plan: Plan, reasons: Sequence[str], left_out: Sequence[str], owner: str
) -> dict[str, Any]:
    """What a result was made from, when, why, by whom and with what, and where it is."""
    from djservice.core.formatting import finite
    from djservice.core.provenance import versions
    from djservice.input.quarantine import BadRange
    from djservice.reprocessing.apply import read_attributes

    fit = read_attributes(folder / plan.fit_store)
    applied = {file: store for file, store in plan.applied.items() if (folder / store).is_dir()}
    of_files = {file: read_attributes(folder / store) for file, store in applied.items()}
    bad = [BadRange(**each) for found in (fit, *of_files.values()) for each in found["quarantined"]]
    return {
        "format": MANIFEST_FORMAT,
        "name": plan.name,
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "owner": owner,
        "reasons": list(reasons),
        "settings": plan.settings,
        "code": code_hash(),
        "versions": versions(),
        "fit": {
            "store": plan.fit_store,
            "files": {
                name: [asdict(file) for file in files] for name, files in plan.inputs.items()
            },
            "inputs": fit[
                "inputs"
            ],  # with entries and ROOT's identifier, of the files of the run's own input
            "result": finite(fit["result"]),
        },
        "files": [asdict(file) for file in plan.files.values()],
        "applied": [
            {"store": store, "inputs": of_files[file]["inputs"]} for file, store in applied.items()
        ],
        "left_out": [*left_out, *map(str, bad)],
    }
