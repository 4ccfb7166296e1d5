"""Readers of what monitors of GPU nodes write, one module per format, each ending in `Signal`s or in columns.

A reader takes lines or text, never a file. It uses the fields it knows and skips the others; what breaks a rule is
counted and named (`rejects.Rejects`) and the rest is read. Nothing it reads is run, and nothing it reads decides how
much memory is taken beyond a small multiple of what was handed in.
"""
