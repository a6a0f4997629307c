"""Live views over ``wallet.events``, and the alerts made from them; nothing here moves money."""
