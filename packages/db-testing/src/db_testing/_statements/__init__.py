"""What must be known of a statement before it runs, and of the schema that it meets.

Nothing here talks to a server: statements are read as text, the schema from what was asked of its
catalog.
"""
