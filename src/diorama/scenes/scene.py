"""Scene: what every system returns and every verb takes."""
