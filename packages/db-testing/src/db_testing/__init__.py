"""Test async SQLAlchemy backends on real PostgreSQL."""
