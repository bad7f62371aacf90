"""Shared parts without physics, which import no other package of djservice."""
