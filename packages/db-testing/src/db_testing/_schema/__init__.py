"""What the public `schema` is made of: migrations, `create_all`, SQL files, and seeded rows."""
