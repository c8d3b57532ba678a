"""Effects: the client, what is known of the cluster, the queue and the loop around it."""
