"""The service, measured on loopback: `19_deployment`."""
