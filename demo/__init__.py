"""`make demo`: the whole chain on a real cluster, told as it happens."""
