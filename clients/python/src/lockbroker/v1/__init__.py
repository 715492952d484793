"""The stubs of the protocol, for programs that speak it themselves. The client uses descriptors of its own."""
