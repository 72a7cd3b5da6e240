"""PS3.7, the message layer: command sets, messages, statuses. Data sets stay bytes here."""
