"""The guest as a machine: an image that is measured, made of locked packages, and the same bytes wherever it is made.

`build` makes it, `boot` runs it here, and `init` is its first process. Everything but `init` runs outside.
"""
