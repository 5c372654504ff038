"""Programs that run in another Python, with packages of their own (`extras.py`); they import nothing of the product."""
