"""Events: the outbox, written in the transaction of what happened, and fanned out by workers."""
