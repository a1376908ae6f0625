"""From a source's header and config to a plan, pure; imports networks and below."""
