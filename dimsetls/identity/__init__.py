"""Who is asking: credentials, the gate they pass, and the back ends that know (PS3.7 D.3.3.7)."""
