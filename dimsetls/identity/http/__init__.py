"""Credentials and refusals as HTTP has them, carried to DIMSE and back, or refused with a reason. Pure."""
