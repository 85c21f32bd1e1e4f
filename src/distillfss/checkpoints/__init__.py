"""Weights other people trained: reading their files, and turning them into ours. Imported by the verb that needs it."""
