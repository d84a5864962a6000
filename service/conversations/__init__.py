"""What people asked and were answered, kept for them alone."""
