"""Objectives, from jets to numbers: observables, cuts and losses."""
