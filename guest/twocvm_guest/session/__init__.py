"""The session between a guest and its participants: a state machine, and the values that it moves."""
