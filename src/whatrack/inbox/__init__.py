"""Webhook deliveries: taken in durably, routed, queued, set aside when they fail, replayed, pruned."""
