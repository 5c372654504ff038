"""The service's OpenAPI document: what each route takes and answers, and the codes that it may refuse with.

A route that is not described here fails a test, as does a description of a route that there is not; and what is
described is asked of the running service by schemathesis.
"""

from .document import openapi_document

__all__ = ["openapi_document"]
