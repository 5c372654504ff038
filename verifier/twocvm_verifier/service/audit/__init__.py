"""The audit log of verdicts: what a record is, who writes it, and what an auditor finds in it years later.

Spec: docs/spec/audit.md.
"""
