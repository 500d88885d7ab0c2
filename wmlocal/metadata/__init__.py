"""`flexcore metadata`: schemas, locks and hashes of scripts and flows, without a server.

command    runs the CLI's own `wmill generate-metadata`, so that every byte is what it writes
fake_server   answers what the CLI asks of a server, on loopback for as long as it runs
locks      makes a Python lock as a server's dependency job does, with uv
"""
