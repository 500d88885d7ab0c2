"""The dashboard outside of Windmill: one page, its health and the HTTP API on one port.

guard       who may ask: loopback names, no other site's scripts, a strict policy for the page
body_limit  how large a request may be
site        the page that `make dashboard` builds, /healthz and /readyz
engine      the embedded engine with the site around its API
windmill    the same site before a Windmill server, which each viewer enters with a token of their own
stack       what `flexcore up` starts: engine, Ray head, resources; one process that keeps them
"""
