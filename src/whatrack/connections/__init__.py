"""What an organization connects: its WhatsApp numbers."""
