"""The commands of `db-testing`, on Typer and Rich: the extra `cli`."""
