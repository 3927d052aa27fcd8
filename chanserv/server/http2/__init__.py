"""
HTTP/2 for the interface server (RFC 9113).

The C{h2} library keeps the protocol's state and does its header compression.
Here are what it leaves to a server: bounds on what a client may make it do, the
turns that streams take in sending, deadlines, and the way from a stream to the
requests and answers that HTTP/1 has too.
"""
