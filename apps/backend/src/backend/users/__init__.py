"""Users: who owns which books, and the tokens they prove it with."""
