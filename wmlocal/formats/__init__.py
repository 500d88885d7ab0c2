"""What Windmill's files look like: the keys that it knows, where they belong, YAML as it reads it, its JavaScript.

Engine and check both read this and never each other, so that they say the same of the same file.
"""
