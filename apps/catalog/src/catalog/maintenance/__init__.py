"""Maintenance: what an operator or a timer does, synchronously, on psycopg."""
