"""Words: BM25 over the permitted passages, by statistics of these alone."""
