"""Reprocessing: process new and changed inputs, on a schedule."""
