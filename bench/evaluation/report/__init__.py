"""The report: one HTML page of what was measured: plots in it, no script, nothing from elsewhere."""
