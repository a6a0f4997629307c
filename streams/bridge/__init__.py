"""The bridge: the wallet's events to AWS EventBridge, at least once, in each user's order."""
