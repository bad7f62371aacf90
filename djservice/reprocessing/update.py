"""reprocess(settings, run, watch): redo the work that changed inputs, settings or code require.

A learned radius depends on all events. A new or changed file therefore means a new fit to all files
from the start, so that the fit depends only on its inputs and not on earlier schedules. The result
of *applying* a fit to a file depends only on that file and the fit, so only new and changed files
are read.

Results are named after their inputs, and never change once they are complete::

    FOLDER/fits/NAME.zarr       store of a run (djservice/store/)
    FOLDER/applied/NAME.zarr    events of a file with that fit (djservice/reprocessing/apply.py)
    FOLDER/results/TIME-NAME/   one reprocessing: manifest.json, and links to its stores
    FOLDER/latest               link to the last result, moved when the result is complete

After a crash, the same command continues with the finished stores, and ``latest`` always leads to a
complete result.
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
from djservice.core.urls import is_url
from djservice.errors import DamagedStoreError, InputError, RunError, StoreError
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

if TYPE_CHECKING:  # heavy modules are imported only if there is work
    from distributed import Client

    from djservice.core.progress import Watch
    from djservice.fit.plan import RunPlan


@dataclass(frozen=True)
class Outcome:
    """Outcome of a reprocessing.

    Attributes
    ----------
    result
        Folder of the latest result.
    reasons
        Descriptions of the changes. They are empty if nothing changed and no work was done.
    left_out
        Descriptions of the bad inputs that are left out.
    """

    result: Path
    reasons: tuple[str, ...]
    left_out: tuple[str, ...]


def reprocess(settings: Reprocessing, run: Run, watch: Watch) -> Outcome:
    """Bring the latest result up to date.

    Raises
    ------
    HeldError
        If another process is doing the work.
    DjserviceError
        If anything goes wrong. ``latest`` is unchanged, and the same command continues the work.
    """
    folder = Path(settings.folder)
    current = _current(folder, make_plan(settings, run))
    if current is not None:
        return current
    with Lease(folder, settings.lease) as lease:
        if lease.taken_from:
            watch.say(
                f"took over from {lease.taken_from}, who did not renew the lock.{lease.remark}"
            )
        # Planned again, because another process may have done the work meanwhile.
        plan = make_plan(settings, run)
        current = _current(folder, plan)
        if current is not None:
            return current
        reasons = _reasons(folder, plan)
        for reason in reasons:
            watch.say(reason)
        result = results.find(folder, plan.name)  # an earlier state of the inputs may be back
        if result is None:
            left_out = _make_stores(folder, settings, run, plan, watch, lease)
            result = results.find(folder, plan.name)  # damaged before
        if result is None:
            result = results.write(folder, _manifest(folder, plan, reasons, left_out, lease.owner))
        with lease.owned():
            results.point(folder, result)
        return Outcome(result, tuple(reasons), tuple(results.read_manifest(result)["left_out"]))


def _current(folder: Path, plan: Plan) -> Outcome | None:
    """The latest result, if it is the planned one and complete; None otherwise."""
    manifest = results.latest(folder)
    if manifest is None or manifest["name"] != plan.name:
        return None
    if _damage(folder):
        return None
    return Outcome(folder / (folder / "latest").readlink(), (), tuple(manifest["left_out"]))


def _reasons(folder: Path, plan: Plan) -> list[str]:
    """Descriptions of the changes since the latest result."""
    latest = results.latest(folder)
    if latest is None:
        return ["there is no result yet"]
    files_before = {name: _identities(files) for name, files in latest["fit"]["files"].items()}
    reasons = []
    for name in {**files_before, **plan.inputs}:
        reasons += [
            f"{name}: {text}"
            for text in differences(files_before.get(name, []), plan.inputs.get(name, []))
        ]
    reasons += [
        f"apply: {text}"
        for text in differences(_identities(latest["files"]), list(plan.files.values()))
    ]
    if latest["code"] != code_hash():
        reasons.append(f"the code changed from {latest['code']} to {code_hash()}")
    if latest["settings"] != plan.settings:
        reasons.append("the settings changed")
    return reasons or [_damage(folder) or "another process changed the result"]


def _damage(folder: Path) -> str:
    """What is missing or damaged in the latest result; empty if nothing is."""
    try:
        results.verify_result(folder / "latest")
    except DamagedStoreError as damage:
        return str(damage)
    return ""


def _identities(files: Sequence[Mapping[str, Any]]) -> list[FileIdentity]:
    return [FileIdentity(**file) for file in files]


def _make_stores(
    folder: Path, settings: Reprocessing, run: Run, plan: Plan, watch: Watch, lease: Lease
) -> list[str]:
    """Make the missing stores, and return descriptions of the files that cannot be read at all."""
    from djservice.fit.plan import RunPlan
    from djservice.on_dask.session import client_for, run_to_completion
    from djservice.runs.run import run_on
    from djservice.store.checked import CheckedGroup
    from djservice.store.local_folder import LocalFolder
    from djservice.store.run_store import Store

    path = folder / plan.fit_store
    fit_run = run.model_copy(update={"output": run.output.model_copy(update={"store": str(path)})})
    run_plan = RunPlan(fit_run)
    run_plan.check()
    missing = _missing_files(folder, plan)
    # What is damaged in the store of the fit is computed again, unless its root is.
    fitted = results.is_whole(path) and Store.read(path).attributes["status"] == "finished"
    if fitted:
        _need_fit(path, run, plan)
    if path.is_dir() and CheckedGroup(LocalFolder(str(path)), None).unreadable() is not None:
        shutil.rmtree(path)
    left_out: list[str] = []

    async def work() -> None:
        async with client_for(fit_run.cluster, watch) as client:
            if not fitted:
                await run_on(client, run_plan, watch)
                _check_unchanged(
                    lease,
                    path,
                    plan.inputs,
                    {
                        name: list(identify(section).values())
                        for name, section in run.inputs.items()
                    },
                )
            else:
                for line in run_plan.defaults:
                    watch.say(line)
            left_out.extend(
                await _apply(client, run_plan, folder, settings, plan, missing, watch, lease)
            )

    if missing or not fitted:
        run_to_completion(work(), watch)
    return left_out


def _missing_files(folder: Path, plan: Plan) -> list[str]:
    """The files without a whole store of this fit; what there is of their stores is removed."""
    missing = [
        file
        for file, store in plan.applied.items()
        if not results.is_whole(folder / store)
        or results.facts_of(folder / store, "fit", "file")
        != [plan.fit_store, asdict(plan.files[file])]
    ]
    for file in missing:
        shutil.rmtree(folder / plan.applied[file], ignore_errors=True)
    return missing


async def _apply(
    client: Client,
    run_plan: RunPlan,
    folder: Path,
    settings: Reprocessing,
    plan: Plan,
    missing: Sequence[str],
    watch: Watch,
    lease: Lease,
) -> list[str]:
    """Make the stores of files, and return descriptions of those that cannot be read at all."""
    from djservice.reprocessing.apply import apply_fit
    from djservice.store.run_store import Store
    from djservice.store.verify import APPLIED_FORMAT

    fit, left_out = Store.read(folder / plan.fit_store), []
    watch.phase("apply", len(plan.files), len(plan.files) - len(missing))
    for file in missing:
        assert settings.apply is not None
        section = settings.apply.model_copy(update={"files": (file,)})
        attributes = {
            "djservice_applied": APPLIED_FORMAT,
            "fit": plan.fit_store,
            "file": asdict(plan.files[file]),
        }
        target = folder / plan.applied[file]
        try:
            await apply_fit(client, run_plan, fit, section, target, attributes, watch)
            _check_unchanged(lease, target, plan.files[file], identify(section)[file])
        except InputError as error:  # the file cannot be read at all
            if section.bad_inputs == "fail":
                raise
            watch.say(f"left out: {error}")
            left_out.append(str(error))
        watch.step({})
    return left_out


def _need_fit(path: Path, run: Run, plan: Plan) -> None:
    """Refuse a finished store that has the name of a fit and is that of another."""
    from djservice.store.run_store import check_it_continues

    check_it_continues(path, run.numbers)
    [inputs] = results.facts_of(path, "inputs")
    paths, planned = [file["path"] for file in inputs], plan.inputs["input"]
    local = [file["size"] for file in inputs if not is_url(file["path"])]
    if paths != [file.path for file in planned] or local != [
        file.size for file in planned if not is_url(file.path)
    ]:
        raise StoreError(
            f"{path}: expected the fit of these inputs, found that of others. Move it away, and run "
            "the same command again."
        )


def _check_unchanged(lease: Lease, store: Path, planned: Any, current: Any) -> None:
    """Remove a store if its files changed since the planning.

    It is unknown which version of the files was read.
    """
    if current != planned:
        with lease.owned():  # a process that lost it would remove the store of another
            shutil.rmtree(store)
        raise RunError(
            f"{store}: an input changed while it was read, so this store was removed. The link "
            "latest is unchanged. Run the same command again to read the changed inputs."
        )


def _manifest(
    folder: Path, plan: Plan, reasons: Sequence[str], left_out: Sequence[str], owner: str
) -> dict[str, Any]:
    """Manifest of a result: inputs, settings, versions, time, reasons, owner and stores."""
    from djservice.core.formatting import finite
    from djservice.core.provenance import versions
    from djservice.input.quarantine import BadRange
    from djservice.reprocessing.apply import read_attributes

    fit = read_attributes(folder / plan.fit_store)
    applied = {file: store for file, store in plan.applied.items() if (folder / store).is_dir()}
    of_files = {file: read_attributes(folder / store) for file, store in applied.items()}
    bad = [
        BadRange(**bad_range)
        for attributes in (fit, *of_files.values())
        for bad_range in attributes["quarantined"]
    ]
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
            # The files of the run's section "input", with entries and ROOT's identifier.
            "inputs": fit["inputs"],
            "result": finite(fit["result"]),
        },
        "files": [asdict(file) for file in plan.files.values()],
        "applied": [
            {"store": store, "inputs": of_files[file]["inputs"]} for file, store in applied.items()
        ],
        "left_out": [*left_out, *map(str, bad)],
    }
