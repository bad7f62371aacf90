"""From jets to numbers: observables, cuts, losses."""
