"""From events to sampled trees, jets and scores."""
