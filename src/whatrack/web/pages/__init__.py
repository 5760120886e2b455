"""The site: one module for each group of pages. HTML is in templates/, words in locale/, rules nowhere here."""
