"""The three exact ways to transform a band, and the tables that they share; `spectral` chooses between them."""
