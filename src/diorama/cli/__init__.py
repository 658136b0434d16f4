"""The command line: `diorama VERB ...`."""
