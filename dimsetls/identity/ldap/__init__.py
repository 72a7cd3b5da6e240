"""User names and passcodes checked with a directory (RFC 4511)."""
