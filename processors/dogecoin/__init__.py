"""Pure Dogecoin: networks, addresses and their derivation."""
