"""From values and scores to derivatives."""
