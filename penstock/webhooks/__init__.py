"""`penstock webhooks`: where events are sent to, what became of them, and receiving them here."""
