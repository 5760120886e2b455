"""What each ad spent and brought, day by day: which account-days are due, fetching them, keeping them."""
