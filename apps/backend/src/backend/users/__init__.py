"""Users: who owns which books, and the passwords and tokens they prove it with."""
