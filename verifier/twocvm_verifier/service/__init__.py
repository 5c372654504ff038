"""The verifier as an HTTP service, for whoever would rather ask than verify.

It judges with what the rest of this package has and adds nothing to it but doors: `POST /v1/appraise`, project
Veraison's challenge-response API, and tokens that others' software reads. Everything here needs the extra `service`;
nothing outside imports it.

Spec: docs/spec/challenge.md, docs/spec/ear.md.
"""
