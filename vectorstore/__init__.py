"""Text in, permitted passages out: the catalog, the indexes derived from it, and the search over them."""
