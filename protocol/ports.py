"""Where the lab listens."""

SERVER_HOST = "server"
"""The name that Docker's DNS gives the server on the lab's network."""

SERVER_PORT = 9190
"""The port of the server inside its container. The health check in docker-compose.yml spells it in hex: 23E6."""
