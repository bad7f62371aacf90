"""The events that are measured on, made once and kept in benchmarks/events/.

Three classes: the shipped ZH events with pT > 1 GeV (n about 70); the constituents of the leading R = 1.0 anti-kT jet of
boosted ZH events (pT-hat > 250 GeV, about 70); ZH events with particles of all pT (about 400). The last two are made by
workflows/generate_zh.py, which needs pythia8mc. Larger events are several of these on top of each other, as pile-up makes
them.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

import djservice as dj

HERE = Path(__file__).parent
FOLDER = HERE / "events"


def generated(name: str, events: int, *options: str) -> dj.EventBatch:
    """Events of a file that is made if it is not there."""
    path = FOLDER / name
    if not path.exists():
        FOLDER.mkdir(exist_ok=True)
        generator = HERE.parent / "workflows" / "generate_zh.py"
        made = [
            "--events",
            str(events),
            "--seed",
            "5",
            "--pt-min",
            "0",
            *options,
            "--output",
            str(path),
        ]
        subprocess.run([sys.executable, str(generator), *made], check=True)
    return dj.read(str(path))


def momenta(events: dj.EventBatch) -> list[np.ndarray]:
    """px, py, pz, E of each event."""
    transverse = np.hypot(events.pt, events.mass)
    columns = (
        events.pt * np.cos(events.phi),
        events.pt * np.sin(events.phi),
        transverse * np.sinh(events.rapidity),
        transverse * np.cosh(events.rapidity),
    )
    return np.split(np.stack(columns, axis=1), events.offsets[1:-1])


def leading_jet_constituents(events: dj.EventBatch) -> dj.EventBatch:
    """Of each event the particles of the leading R = 1.0 anti-kT jet."""
    exact = dj.cluster(events, radius=1.0, rigidity=np.inf, jets=1, history=True)
    kept = np.zeros(len(events.pt), bool)
    for event, n in enumerate(events.counts):
        members: dict[int, list[int]] = {i: [i] for i in range(n)}
        jets = []
        for step, (a, b) in enumerate(exact.history_of(event, 0)):
            if b < 0:
                jets.append(members[a])
            else:
                members[n + step] = members[a] + members[b]
        start = events.offsets[event]
        p = momenta(events)[event]
        leading = max(jets, key=lambda jet: np.hypot(*p[jet, :2].sum(axis=0)))
        kept[start + np.array(leading)] = True
    counts = np.add.reduceat(kept, events.offsets[:-1])
    columns = {name: getattr(events, name)[kept] for name in ("pt", "rapidity", "phi", "mass")}
    return dj.EventBatch.from_arrays(**columns, offsets=np.concatenate([[0], np.cumsum(counts)]))


def overlaid(events: dj.EventBatch, particles: int, number: int) -> dj.EventBatch:
    """``number`` events of ``particles`` particles each, drawn from as many events as that takes."""
    random, columns = np.random.default_rng(particles), ("pt", "rapidity", "phi", "mass")
    chosen = []
    for _ in range(number):
        order, rows = random.permutation(len(events)), np.empty(0, int)
        for event in order:
            rows = np.append(rows, np.arange(events.offsets[event], events.offsets[event + 1]))
            if len(rows) >= particles:
                break
        chosen.append(random.choice(rows, particles, replace=False))
    fields = {name: getattr(events, name)[np.concatenate(chosen)] for name in columns}
    return dj.EventBatch.from_arrays(**fields, offsets=particles * np.arange(number + 1))


def classes() -> dict[str, dj.EventBatch]:
    """The three classes."""
    return {
        "ZH pT > 1 GeV": dj.read(
            "example:ZHllbb_1000", schema=dj.schemas.nanoaod(pt_min=1.0), entries=(0, 60)
        ),
        "fat jets": leading_jet_constituents(generated("boosted.root", 60, "--pt-hat-min", "250")),
        "ZH full": generated("full.root", 60),
    }
