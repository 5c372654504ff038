"""A manifest run on this machine, for who has all of its data: the guest's own runtime, and everything told.

No platform, no connection, no signatures, and nobody to keep anything from. A guest cannot come here: what serves
participants imports nothing of this package (an import contract), and the runtime that it makes has no witness.
"""
