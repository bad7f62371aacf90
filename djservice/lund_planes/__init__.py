"""Lund planes of jets: their density, and weights that give a simulation the density of data."""
