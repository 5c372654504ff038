"""For who writes components: a folder to begin with, what builds it, and the few files that every language needs.

Nothing here runs in a guest. Which components a guest admits is decided by `runtime/admission.py` alone, whatever made
them; what is built here is held to the same.
"""
