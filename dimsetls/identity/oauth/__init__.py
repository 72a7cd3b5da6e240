"""Access tokens: JSON Web Tokens, introspection of opaque ones, and the authorization server as we meet it."""
