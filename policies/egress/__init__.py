"""Keeps every dependency from reaching out: the switches, set before anything else is imported."""
