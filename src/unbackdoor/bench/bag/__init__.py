"""A bag of reference networks: what a scan says of clean networks, and of backdoored ones."""
