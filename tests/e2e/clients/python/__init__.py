"""What the clients for Python are tried with: scripts, each for a process of its own."""
