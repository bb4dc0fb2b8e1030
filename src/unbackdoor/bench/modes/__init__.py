"""A comparison of MESA, which gets no sample, with generators that learn from samples."""
