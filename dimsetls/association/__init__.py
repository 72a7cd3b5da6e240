"""The only room with a transport, a timer or a reactor: it performs what the upper layer decides."""
