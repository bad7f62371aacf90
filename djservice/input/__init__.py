"""From ROOT files to events."""
