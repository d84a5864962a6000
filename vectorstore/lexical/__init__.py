"""Words: BM25 over the permitted passages."""
