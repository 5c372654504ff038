"""RA-TLS, the part that judges: what a certificate and a channel prove (`docs/spec/ratls.md`).

Pure: no socket, no TLS library, no clock. `certificate` reads a leaf, `batch` a Merkle path, `proof` judges.
"""
