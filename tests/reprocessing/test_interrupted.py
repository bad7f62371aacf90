"""Reprocessing that is killed, damaged, or meets another and files that change: `latest` is whole, and what is left is done."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from places import Place, Quiet, Settings, arrays, content

from djservice import examples
from djservice.cli import main
from djservice.errors import (
    DamagedStoreError,
    DjserviceError,
    RunError,
    StoreError,
)
from djservice.reprocessing import results
from djservice.reprocessing.lease import HeldError
from djservice.store.run_store import Store


def test_what_is_damaged_is_named_and_made_again(place: Place) -> None:
    first = place.reprocess().result
    before = {name: arrays(path) for name, path in place.applied().items()}
    assert results.verify_result(place.out / "latest") == 3
    fit = (place.out / "latest/fit.zarr").resolve()
    file = place.applied()["a"] / "event_mean/c/0"
    file.write_bytes(file.read_bytes()[:-1])
    (fit / "zarr.json").write_bytes(b"")
    (fit / "history/loss/c/0").unlink()
    with pytest.raises(DamagedStoreError, match=r"fit\.zarr: damaged: the root: zarr\.json"):
        results.verify_result(place.out / "latest")
    watch = Quiet()
    second = place.reprocess(watch)
    assert "damaged: the root: zarr.json is empty" in second.reasons[0]
    assert second.result == first
    assert {name: arrays(path) for name, path in place.applied().items()} == before
    assert place.reprocess().reasons == ()
    manifest = place.out / "latest/manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"owner": "', b'"owner": "x'))
    with pytest.raises(StoreError, match=r"manifest\.json: .* does not match its checksum"):
        place.reprocess()


def test_killed_between_data_and_pointer(place: Place) -> None:
    place.reprocess()
    before = results.read_manifest(place.out / "latest")
    place.add("c")
    settings = yaml.safe_load((place.folder / "nightly.yaml").read_text())
    (place.folder / "nightly.yaml").write_text(yaml.safe_dump(settings | {"lease": 3.0}))
    process = place.command(
        "import os, signal, djservice.reprocessing.results as r\nr.point = lambda *given: os.kill(os.getpid(), signal.SIGKILL)"
    )
    process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL
    assert results.read_manifest(place.out / "latest") == before
    assert len(list(place.out.glob("results/*"))) == 2
    done = content(place.out)
    lock = place.out / "lock.json"
    left = json.loads(lock.read_text())
    lock.write_text(
        json.dumps(left | {"expires": time.time() + 100.0})
    )  # does not end while we look
    with pytest.raises(HeldError, match=f"process {process.pid} has held the lock"):
        place.reprocess()
    lock.write_text(json.dumps(left))
    time.sleep(max(0.0, left["expires"] - time.time()))
    watch = Quiet()
    outcome = place.reprocess(watch)
    assert watch.said[0].startswith("took over from ") and "compiling" not in " ".join(watch.said)
    assert (place.out / "latest").resolve() == outcome.result and len(place.applied()) == 3
    del done["lock.json"]
    assert content(place.out) == done


def test_killed_in_the_middle_of_a_fit(place: Place) -> None:
    settings = yaml.safe_load((place.folder / "nightly.yaml").read_text())
    (place.folder / "nightly.yaml").write_text(yaml.safe_dump(settings | {"lease": 1.0}))
    process = place.command(
        "import os, signal, djservice.core.display as d\nclass Killing(d.Lines):\n    def phase(self, name, total, done):\n"
        "        if name == 'scan':\n            os.kill(os.getpid(), signal.SIGKILL)\nd.choose_display = Killing"
    )
    process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL and not os.path.lexists(place.out / "latest")
    (path,) = place.out.glob("fits/*")
    assert Store.read(path).n_complete("history") == 6
    before = content(path / "history/gradient")
    time.sleep(max(0.0, json.loads((place.out / "lock.json").read_text())["expires"] - time.time()))
    assert (place.reprocess().result / "fit.zarr").resolve() == path
    assert content(path / "history/gradient") == before and sorted(place.applied()) == ["a", "b"]


def test_two_at_once_do_it_once(place: Place) -> None:
    processes = [place.command() for _ in range(2)]
    said = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    (did,) = (out for out, _ in said if out.startswith("latest: "))
    (did_not,) = (out for out, _ in said if out != did)
    assert "has held the lock" in did_not or "nothing changed" in did_not
    assert len(list(place.out.glob("results/*"))) == 1 and not (place.out / "lock.json").exists()


def test_a_file_that_changes_while_it_is_read_is_not_taken_for_either(place: Place) -> None:
    place.reprocess()
    before = (place.out / "latest").readlink()
    place.add("c")
    touch = Quiet(
        lambda phase: os.utime(place.data / "c.root", (1, 1)) if phase == "apply" else None
    )
    with pytest.raises(RunError, match="an input changed while it was read"):
        place.reprocess(touch)
    assert (place.out / "latest").readlink() == before
    assert len(list(place.out.glob("applied/*"))) == 2  # nothing is kept of what was read
    place.reprocess()
    assert sorted(place.applied()) == ["a", "b", "c"]


def test_a_bad_file_holds_up_nothing_that_is_good(place: Place) -> None:
    (place.data / "c.root").write_bytes(b"root, or is it")
    with pytest.raises(DjserviceError, match=r"c\.root"):
        place.reprocess()
    assert not (place.out / "latest").exists()
    assert len(list(place.out.glob("applied/*"))) == 2  # and they need not be done again
    settings = yaml.safe_load((place.folder / "nightly.yaml").read_text())
    settings["apply"]["bad_inputs"] = "quarantine"
    (place.folder / "nightly.yaml").write_text(yaml.safe_dump(settings))
    did = CliRunner().invoke(main, place.call)
    assert did.exit_code == 3 and "bad inputs left out: 1" in did.stdout and "c.root" in did.stdout
    assert sorted(place.applied()) == ["a", "b"]
    again = CliRunner().invoke(main, place.call)
    assert again.exit_code == 3 and again.stdout.startswith("nothing changed")


def test_an_input_of_the_fit_that_changes_while_it_is_read(
    tmp_path: Path, tiny: Settings, scheduler: str
) -> None:
    source = Path(shutil.copy(examples.path("ZHllbb_200"), tmp_path / "fit.root"))
    place = Place(tmp_path, tiny | {"input": tiny["input"] | {"files": str(source)}}, scheduler)
    with pytest.raises(RunError, match="an input changed while it was read"):
        place.reprocess(Quiet(lambda phase: os.utime(source, (1, 1)) if phase == "scan" else None))
    assert not list(place.out.glob("fits/*")) and not os.path.lexists(place.out / "latest")
    assert sorted(path.name for path in place.out.iterdir()) == [".lock", "fits"]
