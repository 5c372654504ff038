"""`twocvm demo`: three organisations compute together on this machine, on a simulated platform, with real data."""
