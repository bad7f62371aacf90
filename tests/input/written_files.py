"""Files of a few events, written by a test."""

import awkward as ak
import numpy as np
import uproot


def write(path, events=6, *, first=1, run=7, rntuple=False, **replaced):
    """A small file; event i has i % 4 particles. A replaced branch that is None is left out."""
    rng = np.random.default_rng(first)
    counts = np.arange(events) % 4

    def lists(low, high):
        return ak.unflatten(rng.uniform(low, high, counts.sum()).astype(np.float32), counts)

    particles = {
        "pt": lists(1, 50),
        "eta": lists(-4, 4),
        "phi": lists(-3.1, 3.1),
        "mass": lists(0, 1),
    }
    particles["charge"] = ak.values_astype(ak.zeros_like(particles["pt"]), np.int32)
    data = {
        "run": np.full(events, run, np.uint32),
        "luminosityBlock": np.ones(events, np.uint32),
        "event": np.arange(first, first + events, dtype=np.uint64),
        "genWeight": np.linspace(0.5, 1.5, events).astype(np.float32),
        "Gen_mass": np.linspace(100, 150, events).astype(np.float32),
    } | replaced
    data = {name: column for name, column in data.items() if column is not None}
    with uproot.recreate(path) as file:
        if rntuple:
            file["Events"] = data | {
                f"PFCands_{name}": column for name, column in particles.items()
            }
        else:
            data["PFCands"] = ak.zip(particles)
            types = {
                k: v.dtype if isinstance(v, np.ndarray) else v.type.content for k, v in data.items()
            }
            file.mktree("Events", types).extend(data)
    return str(path)


def anonymous(path, events=6, **keywords):
    """A file without event identities."""
    return write(path, events, run=7, luminosityBlock=None, event=None, **keywords)
