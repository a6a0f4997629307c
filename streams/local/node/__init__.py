"""A small Dogecoin node of our own: real blocks, scripts and mempool rules, and faults at will.

It speaks Dogecoin Core 1.14's JSON-RPC, so that whatever works with it works with Core; what it
lacks is the network. docs/decisions/0019 says why it stands beside litecoind and Core.
"""
