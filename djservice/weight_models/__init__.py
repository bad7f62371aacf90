"""Weight models: a weight of each particle before the clustering, as a function of its features."""
