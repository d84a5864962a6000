"""Text becomes unit vectors: one adapter per file, behind one interface."""
