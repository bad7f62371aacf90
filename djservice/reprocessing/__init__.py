"""Do what is new or changed, on a schedule."""
