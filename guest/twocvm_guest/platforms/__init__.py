"""The platforms that a guest can stand on; each is an `attester.Attester`."""
