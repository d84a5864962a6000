"""What a person can have done to a data directory: one module per noun, the same whether run here or in the service."""
