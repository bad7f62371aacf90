"""For an analysis of one's own: expectations, reweighting, a coffea processor."""
