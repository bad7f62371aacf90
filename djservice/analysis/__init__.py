"""Tools for a user's own analysis: expectations, reweighting and a coffea processor."""
