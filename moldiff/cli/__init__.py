"""The command line: one file a verb, each importing what is heavy only when it runs."""
