"""What the order of a socket's events costs: echo throughput with settling and without."""
