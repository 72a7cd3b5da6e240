"""User identities in the INI file, and the gates and back ends that they become."""
