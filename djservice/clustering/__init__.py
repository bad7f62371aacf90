"""Clustering: from events to sampled trees, jets and scores."""
