"""Events in memory: flat columns, offsets and identities."""
