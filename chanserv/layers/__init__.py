"""Channel layers: where messages wait between those who send and those who read."""

from chanserv.layers.blocking import blocking_layer, face_of
from chanserv.layers.from_spec import make_layer
from chanserv.layers.memory import MemoryChannelLayer

__all__ = ["MemoryChannelLayer", "blocking_layer", "face_of", "make_layer"]
