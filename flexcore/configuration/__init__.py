"""windmill.yaml and flexcore.yaml: what they may say, what is wrong with them, and what becomes of them."""
