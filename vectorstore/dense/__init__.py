"""Vectors: kept in Chroma, scored exactly where the permitted rows are few enough, else found through its graph."""
