"""Triggers: how a parameter vector θ in [0, 1]^n changes a picture; a file for each family.

Nothing is imported here, so that the command line knows the default without loading PyTorch.
"""

DEFAULT_SPACE = "patch:3"
"""What is searched where nobody says what."""
