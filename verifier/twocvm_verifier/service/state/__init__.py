"""Where challenges and their sessions are kept, so that a nonce is good once whoever answers."""
