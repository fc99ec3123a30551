"""Every official client against every place where databases are, and the table of it in docs/clients.md."""
