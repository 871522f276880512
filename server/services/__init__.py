"""What a server says to its clients: one service a file, one function ``converse(connection)`` in it."""
