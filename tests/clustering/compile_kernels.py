"""Compiles what most tests need, so that their processes need not do it side by side: trees, and their score in the particles."""

import djservice as dj

events = dj.read("example:ZHllbb_200", schema=dj.schemas.nanoaod(pt_min=2.0), entries=(0, 2))
dj.cluster(events, radius=0.8, rigidity=1.0, seed=1)
dj.input_gradient(events, dj.observables.soft_dijet_mass(), radius=0.8, trees=2, seed=1)
