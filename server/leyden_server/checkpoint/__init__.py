"""What stands in weight files and configs, told from headers alone: no torch, no weights read.

The rule of this room: nothing that a file or a config says is passed over in silence. Each tensor
and each field is used, or stands on a short list of what is known to mean nothing, or the load
fails and names it.
"""
