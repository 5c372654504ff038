"""Runs participants' components, each in a worker that reaches what the manifest gives it (`docs/runtime.md`)."""
