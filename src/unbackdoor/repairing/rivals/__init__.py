"""Published repairs by other authors, and their building blocks."""
