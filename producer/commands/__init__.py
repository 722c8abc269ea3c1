"""The commands of the command line, by what a user wants; each imports what it needs when it runs."""
