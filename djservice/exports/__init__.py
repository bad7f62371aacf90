"""What stores hold, in the formats of other programs."""
