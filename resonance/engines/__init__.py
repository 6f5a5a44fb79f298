"""Ways to compute the band transforms and the causal form, and the tables that they share."""
