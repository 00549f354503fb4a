"""From the wire to the words of the rooms below: messages, tools, and the form of the answer."""
