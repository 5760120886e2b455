"""Organizations, their API keys, and access: the only way to a tenant's row."""
