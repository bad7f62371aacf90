"""A loss and its gradient over a batch, as mergeable sums."""
