"""The command groups, one file each: read the options, call what does it, print."""
