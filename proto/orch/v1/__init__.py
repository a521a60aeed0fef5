"""The wire: messages and stubs, generated from the .proto files beside this one and never committed."""
