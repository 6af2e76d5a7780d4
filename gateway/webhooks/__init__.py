"""The part of the API about webhooks: endpoints, their deliveries, and pulling instead of being sent to."""
