# requirements: flexcore_base
"""The version of this bundle, for what is read by another one: pages, reports, debug bundles."""

VERSION = "0.1.0"
