"""What several tests share: makers of videos, and the like."""
