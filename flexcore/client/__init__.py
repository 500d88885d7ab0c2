"""What the command line knows of a Windmill, real or embedded: one client for both."""
