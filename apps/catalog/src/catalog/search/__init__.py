"""Search: by words, by likeness of names, by meaning, and by all of them."""
