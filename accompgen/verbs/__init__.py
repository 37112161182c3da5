"""The verbs of the command line, by what they deal in. Each is a pair of functions: its options, and its one call."""
