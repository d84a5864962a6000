"""Decides who may do what to which access class, from Cedar policies, and says why."""
