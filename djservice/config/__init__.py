"""A run as plain, strict data: YAML in, YAML out."""
