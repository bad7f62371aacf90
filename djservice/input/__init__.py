"""Input: ROOT files -> events."""
