"""WhaTrack: from an ad click on WhatsApp to a ticket, a conversion reported to Meta, and what each real earned."""
