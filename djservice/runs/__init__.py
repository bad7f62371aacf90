"""From a configuration to a store."""
