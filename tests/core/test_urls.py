"""Names beside a file keep every dot that is not its suffix."""

from pathlib import Path

import pytest

from djservice.config.run import Run
from djservice.config.template import write_template
from djservice.core.urls import beside


@pytest.mark.parametrize(
    ("name", "page"),
    [
        ("run.zarr", "run.html"),
        ("start_0.4.zarr", "start_0.4.html"),
        ("start_0.4", "start_0.4.html"),
        ("a.b/start_0.7", "a.b/start_0.7.html"),
        (".zarr.hidden", ".zarr.hidden.html"),
    ],
)
def test_a_page_beside_a_store(name: str, page: str) -> None:
    assert beside(Path(name), ".html", ".zarr") == Path(page)


def test_configurations_whose_names_have_dots_have_stores_of_their_own(tmp_path: Path) -> None:
    for name, store in {"start_0.4": "start_0.4.zarr", "start_0.7.yaml": "start_0.7.zarr"}.items():
        write_template(tmp_path / name, Run, "run", force=False)
        assert f"store: {store}  #" in (tmp_path / name).read_text()


def test_no_suffix_is_replaced_elsewhere() -> None:
    """`with_suffix` and `stem` cut a name at its last dot, whatever that is."""
    package = Path(__file__).parents[2] / "djservice"
    allowed = {"input/examples.py"}  # the files of the package itself
    assert not [
        path
        for path in package.rglob("*.py")
        if str(path.relative_to(package)) not in allowed
        and any(word in path.read_text() for word in (".with_suffix(", ".stem"))
    ]
