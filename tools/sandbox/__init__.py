"""The sandbox: one server in a container, for `make up` and for molecule, and the images of its services."""
