"""Radius models: R as a function of an event."""
