"""What crosses a process boundary: messages, codecs, topics, errors, signatures. Imports none of our packages."""
