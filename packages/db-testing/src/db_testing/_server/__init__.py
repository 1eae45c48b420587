"""Where PostgreSQL comes from, and the connection on which databases are made.

`_server` decides between a server of our own, one that the system's programs start, and a URL;
`_cluster` is one of our own, with its `_watchdog`; `_admin` is connected to any of them.
"""
