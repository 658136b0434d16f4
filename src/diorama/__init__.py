"""diorama: 3D scenes from a few photos, or from none."""
