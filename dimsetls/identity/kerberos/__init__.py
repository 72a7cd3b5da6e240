"""Kerberos tickets, raw or in GSS-API and SPNEGO: checked, and obtained (RFC 4120, RFC 4121, RFC 4178)."""
