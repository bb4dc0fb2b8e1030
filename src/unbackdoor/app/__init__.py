"""The command line: what people type, and where what comes of it goes."""
