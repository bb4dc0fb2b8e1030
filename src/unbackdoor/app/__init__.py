"""The command line: its options, commands, inputs and outputs."""
