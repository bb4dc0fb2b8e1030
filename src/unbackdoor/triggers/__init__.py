"""Triggers: how a parameter vector θ in [0, 1]^n changes a picture. Each family has a file.

Nothing is imported here, so that the command line knows the default without loading PyTorch.
"""

DEFAULT_SPACE = "patch:3"
"""The space that is searched by default."""
