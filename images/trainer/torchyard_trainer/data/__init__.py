"""Data: reading a table, holding rows out, and which rank sees which row when."""
