"""Ranges of a file's entries, cut into bundles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from djservice.errors import InputError
from djservice.input.files import InputFile


@dataclass(frozen=True)
class Segment:
    """Entries ``start`` to ``stop`` (exclusive) of one file of a dataset.

    ``tree`` is None for the schema's tree. ``file`` is the identity of the file when it was
    inspected, which every read compares; None if it was not inspected.
    """

    path: str
    start: int
    stop: int
    dataset: str = ""
    tree: str | None = None
    file: InputFile | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.path}[{self.start}:{self.stop}]"


def segments(
    files: Sequence[InputFile], entries: tuple[int, int] | None, bundle_events: int
) -> list[tuple[Segment, ...]]:
    """Cut a range of entries into bundles of ``bundle_events`` events of one dataset.

    The last bundle of a dataset may be smaller.

    Parameters
    ----------
    files
        Files in the order of reading. A bundle may span several.
    entries
        Range ``(start, stop)`` counted over all files; all by default.
    bundle_events
        Events of one bundle, at least 1.

    Raises
    ------
    InputError
        If the files have no entries, or fewer than the range asks for.
    """
    total = sum(file.selected for file in files)
    start, stop = (0, total) if entries is None else entries
    if bundle_events < 1:
        raise InputError(f"bundle_events is {bundle_events}, expected 1 or more.")
    if total == 0:
        raise InputError(
            f"no events: 0 entries in {', '.join(file.path for file in files)}. Give files with "
            "events."
        )
    if not 0 <= start < stop <= total:
        raise InputError(
            f"entries {start}:{stop} are not a range within the {total} entries of {len(files)} "
            f"file(s), expected 0 <= start < stop <= {total}. Change the range or add files."
        )
    bundles: list[tuple[Segment, ...]] = []
    bundle: list[Segment] = []
    room, before = bundle_events, 0
    for file in files:
        for first, last in file.ranges:
            begin, end = max(first, first + start - before), min(last, first + stop - before)
            before += last - first
            while begin < end:
                if bundle and (room == 0 or bundle[-1].dataset != file.dataset):
                    bundles.append(tuple(bundle))
                    bundle, room = [], bundle_events
                taken = min(room, end - begin)
                bundle.append(
                    Segment(file.path, begin, begin + taken, file.dataset, file.tree, file)
                )
                begin, room = begin + taken, room - taken
    return [*bundles, tuple(bundle)]
