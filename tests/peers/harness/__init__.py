"""Real mail servers, real mail clients and the proxy between them, on loopback."""
