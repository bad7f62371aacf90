"""What is searched for a submission: within roots, in a bounded time, and without a word on the rest."""

import glob
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import pytest

from djservice.config.run import Run
from djservice.errors import ConfigError, DjserviceError, MissingFileError, ServiceError
from djservice.service import intake
from djservice.service.allowed_paths import INPUT_ROOTS, OUTPUT_ROOTS, roots
from djservice.service.intake import PatternSearch, checked_plan
from djservice.service.search import OutsideError, search
from djservice.service.submission import pack

Settings = dict[str, Any]

PATTERNS = [
    *("*", "**", "**/*", "*.root", "**/*.root", "a*/*", "**/a*/**/*.root", "**/", "a*/", "*/"),
    *("link/*", "li*/*", "**/.h*/*", "**/.*", "[ab]*/**", "?[0-9]*/*.txt", "**/**/*.root", "*/*/"),
    *("nothing*/*", "**/link/**", ".*", "x[[]1]*/*", "**/*[[]2]*", "*/a1/*", "a*/nothing"),
]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders and files with all sorts of names, and links to some, to nothing and in a circle."""
    base, draw = tmp_path_factory.mktemp("tree"), random.Random(3)
    folders = [base]
    for i in range(40):
        name = draw.choice(["a", "b", ".h", "x[1]", "c"]) + str(i)
        folders.append(draw.choice(folders) / name)
        folders[-1].mkdir()
    for i in range(200):
        name = draw.choice(["f", "g", ".k", "h[2]"]) + str(i) + draw.choice([".root", ".txt"])
        (draw.choice(folders) / name).touch()
    (base / "link").symlink_to(folders[5])
    (base / "dead.root").symlink_to("/nowhere")
    return base


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_search_finds_what_glob_finds(tree: Path, pattern: str) -> None:
    expected = sorted(set(glob.glob(f"{tree}/{pattern}", recursive=True)))
    assert search(f"{tree}/{pattern}", None, 10**6) == expected


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[Path]:
    """Roots ``in`` and ``out`` beside a folder with a secret, and links to it."""
    for name in ("in", "out", "elsewhere/deep"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "in/a.root").touch()
    for name in ("elsewhere/secret.root", "elsewhere/deep/secret.root"):
        (tmp_path / name).touch()
    (tmp_path / "in/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in/up").symlink_to("/")
    settings = {INPUT_ROOTS: str(tmp_path / "in"), OUTPUT_ROOTS: [str(tmp_path / "out")]}
    with dask.config.set(settings):
        yield tmp_path


def answer(settings: Settings, folder: Path, files: Any) -> str:
    """What the service says to a submission with these files."""
    data = pack(Run.from_dict(settings | {"output": {"store": str(folder / "out/run.zarr")}}))
    data["input"] |= {"files": [str(files)]} if isinstance(files, (str, Path)) else files
    with pytest.raises(DjserviceError) as refusal:
        checked_plan(data)
    return f"{type(refusal.value).__name__}: {refusal.value}"


@pytest.mark.parametrize(
    "present, absent",
    [
        ("elsewhere/secret.root", "elsewhere/nothing.root"),
        ("elsewhere/*.root", "elsewhere/x*.root"),
        ("elsewhere/deep", "elsewhere/nothing"),
        ("elsewhere/**/s*.root", "elsewhere/**/x*.root"),
        ("in/linked/secret.root", "in/linked/nothing.root"),
        ("in/linked/s*.root", "in/linked/x*.root"),
        ("in/l*/s*.root", "in/l*/x*.root"),
        ("in/**/s*.root", "in/**/x*.root"),
        ("in/up/etc/passwd", "in/up/etc/nothing"),
        ("in/u*/etc/pass*", "in/u*/etc/xpass*"),
        ("in/[u]p/etc/passwd", "in/[u]p/etc/nothing"),
    ],
)
def test_nothing_is_told_of_what_is_outside_the_roots(
    limited: Path, tiny: Settings, present: str, absent: str
) -> None:
    told = {}
    for name in (present, absent):
        for kind in ("files", "fileset"):
            path = str(limited / name)
            given: Any = {"files": [path]}
            if kind == "fileset":
                dataset = {"files": {path: "Events"}, "metadata": {"xsec": 1.0}}
                given = {"files": [], "fileset": {"zh": dataset}}
            text = answer(tiny, limited, given)
            assert "lies outside" in text and text.startswith("ConfigError: ")
            told[name, kind] = text.replace(path, "PATH")
    assert told[present, "files"] == told[absent, "files"]
    assert told[present, "fileset"] == told[absent, "fileset"]


def test_within_the_roots_it_is_said_what_is_missing(limited: Path, tiny: Settings) -> None:
    assert answer(tiny, limited, limited / "in/b.root").startswith(MissingFileError.__name__)
    assert answer(tiny, limited, limited / "in/b*.root").startswith(MissingFileError.__name__)


def test_patterns_are_not_expanded_before_the_roots_are_checked(
    limited: Path, tiny: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_search(self: Any, pattern: str) -> list[str]:
        raise AssertionError(pattern)

    monkeypatch.setattr(PatternSearch, "__call__", no_search)
    for pattern in ("/**/*.root", "/*/*/*/*.root", limited / "elsewhere/**", "/**"):
        assert "lies outside" in answer(tiny, limited, pattern)


@pytest.mark.parametrize("value", ["DATA", ["DATA"], ("DATA", "s3://bucket/results")])
def test_roots_are_one_or_a_list(tmp_path: Path, value: Any) -> None:
    given = (
        value.replace("DATA", str(tmp_path))
        if isinstance(value, str)
        else type(value)(root.replace("DATA", str(tmp_path)) for root in value)
    )
    with dask.config.set({INPUT_ROOTS: given}):
        found = roots(INPUT_ROOTS)
    assert found == ((given,) if isinstance(given, str) else tuple(given))


@pytest.mark.parametrize(
    "value",
    [
        *(
            "/",
            "//",
            "/..",
            "/tmp/..",
            "",
            ".",
            "data",
            "~/data",
            "s3://",
            "file:///",
            "file:///data",
        ),
        *(7, {"a": 1}, [7], ["/"], [["/data"]], True),
    ],
)
@pytest.mark.parametrize("setting", [INPUT_ROOTS, OUTPUT_ROOTS])
def test_roots_that_allow_everything_or_mean_nothing_are_refused(setting: str, value: Any) -> None:
    with dask.config.set({setting: value}), pytest.raises(ServiceError, match=setting):
        roots(setting)


def test_a_link_to_everything_is_no_root(tmp_path: Path) -> None:
    (tmp_path / "all").symlink_to("/")
    with (
        dask.config.set({INPUT_ROOTS: str(tmp_path / "all")}),
        pytest.raises(ServiceError, match="allows every path"),
    ):
        roots(INPUT_ROOTS)


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket/data/x.root::file:///etc/passwd",
        "simplecache::s3://bucket/data/x.root",
        "s3://bucket@evil/data/x.root",
        "s3://bucket/database/x.root",
        "file:///etc/passwd",
        "s3://bucket/data/%252e%252e/x.root",
    ],
)
def test_urls_stay_below_their_root(tiny: Settings, tmp_path: Path, url: str) -> None:
    with dask.config.set({INPUT_ROOTS: "s3://bucket/data"}):
        text = answer(tiny, tmp_path, url)
    assert "lies outside" in text or "relative path" in text


def test_a_search_ends_in_time(tree: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Folders in circles, through which a search would go for hours."""
    for name in "abcdef":
        (tmp_path / name).mkdir()
        for other in "abcdef":
            (tmp_path / name / other).symlink_to(tmp_path)
    with dask.config.set({"djservice.limits.search-seconds": 1}):
        began = time.monotonic()
        with pytest.raises(ConfigError, match=r"within 1 s.*djservice\.limits\.search-seconds"):
            PatternSearch()(f"{tmp_path}/**/nothing*.root")
        assert time.monotonic() - began < 300
    with (
        dask.config.set({"djservice.limits.files": 20}),
        pytest.raises(ConfigError, match=r"found 21\..*djservice\.limits\.files"),
    ):
        PatternSearch()(f"{tree}/**/*.root")
    monkeypatch.setattr(intake.search, "__file__", str(tmp_path / "gone.py"))
    with pytest.raises(ServiceError, match="the search for its files ended with"):
        PatternSearch()(f"{tree}/*.root")


def test_names_that_are_no_text_are_found(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff.root")
    (tmp_path / name).touch()
    assert PatternSearch()(f"{tmp_path}/*.root") == [str(tmp_path / name)]


def test_a_link_is_followed_within_the_folders(tmp_path: Path) -> None:
    (tmp_path / "in/deep").mkdir(parents=True)
    (tmp_path / "in/deep/a.root").touch()
    (tmp_path / "in/link").symlink_to(tmp_path / "in/deep")
    folders = [str(tmp_path / "in")]
    assert search(f"{tmp_path}/in/l*/*.root", folders, 9) == [str(tmp_path / "in/link/a.root")]
    with pytest.raises(OutsideError):
        search(f"{tmp_path}/*/a.root", folders, 9)


@pytest.mark.parametrize("inside", ["", "zarr.json"])
def test_a_pipe_in_the_place_of_a_store_is_refused(
    tiny: Settings, tmp_path: Path, inside: str
) -> None:
    store = tmp_path / "run.zarr"
    if inside:
        store.mkdir()
    os.mkfifo(store / inside)
    data = pack(Run.from_dict(tiny | {"output": {"store": str(store)}}))
    with pytest.raises(ConfigError, match=r"output\.store: expected a folder, found a named pipe"):
        checked_plan(data)
