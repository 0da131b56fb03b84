"""Vector environment wrappers and adapters."""
