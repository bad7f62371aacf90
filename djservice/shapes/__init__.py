"""Shapes of events and jets: how far apart two of them are, as transport of their momenta."""
