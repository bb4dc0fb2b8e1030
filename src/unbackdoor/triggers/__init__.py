"""Triggers: how a parameter vector θ in [0, 1]^n changes a picture. Each family has a file.

Nothing is imported here, so that the command line knows the default without loading PyTorch.
"""

AUTO = "auto"
"""All families, each with the spaces of its ladder."""
DEFAULT_SPACE = AUTO
"""What is searched by default."""
