"""What each real spent on ads earned: the report, its costs and rates, the comparison with Meta, and the export."""
