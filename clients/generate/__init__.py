"""Writes what is made from the whole contract: the client's models, and pages for any browser.

It stands above every folder of the service, for REST's shapes are the API's; nothing imports it.
"""
