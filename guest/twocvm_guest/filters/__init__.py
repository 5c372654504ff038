"""Filters of outputs (`docs/spec/filters.md`).

`chain`, `worker` and `orders` belong to the supervisor, which looks at no byte of an output; all others run in a worker
that has shut itself in, and import nothing of the verifier.
"""
