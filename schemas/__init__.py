"""The contract: amounts, addresses, commands, events, rejections, topics and settings. Pure."""
