"""The vendor's API: its endpoints by name, and the client that calls them."""
