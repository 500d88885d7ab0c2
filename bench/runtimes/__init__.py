"""The race between the runtimes on this machine: `python -m bench.runtimes`, and which Meltano pair is the fastest:
`python -m bench.runtimes.meltano_pairs`."""
