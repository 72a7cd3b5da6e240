"""SAML 2.0 assertions: their shape, their signature, what they say, and whether that is enough."""
