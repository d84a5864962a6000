"""Who is asking: whatever a request carries becomes a principal here, and nowhere else."""
