"""One append-only, hash-chained log of what happened; it outlives everything that it tells of."""
