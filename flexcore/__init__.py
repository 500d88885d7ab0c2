"""The laptop side of flexcore: command line and local engine; never deployed."""
