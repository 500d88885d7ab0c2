"""Hours of mixed executions with faults: what is lost, what is left over, what grows."""
