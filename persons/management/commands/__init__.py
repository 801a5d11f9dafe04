"""Management commands. Each one parses its arguments and calls an action or the pipeline."""
