"""Other people's batch jobs: drawn, played, and their starts noted."""
