"""The Attester: platforms, the lock, the session, the workers, and the service around them."""
