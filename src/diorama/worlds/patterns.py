"""The kinds of texture and what their rows of numbers mean: shared by both twins and by whoever makes materials.

A texture is a row of `COLUMNS` numbers and a kind. Lengths are metres in the object's own frame; colours are linear.
"""

PLAIN, NOISE, VORONOI, MARBLE, WOOD, BRICK, STRIPES, DOTS, CHECKS, PRINT, LEAVES, PHOTO = range(12)
"""What `kind` says. Solid (they fill space): PLAIN, NOISE, VORONOI, MARBLE, WOOD, STRIPES. Painted on the faces of a
box: BRICK, DOTS, CHECKS, PRINT, LEAVES, PHOTO."""

SEED = 0
"""A whole number below 2^20."""
CELL = 1
"""Size of a feature: of the largest spots, a ring of wood, the height of a brick, a page, the side of a photo crop."""
ONE, TWO, THREE = 2, 5, 8
"""Where three colours start; three numbers each."""
CONTRAST = 11
"""How far noise moves from the first colour to the last; 0 leaves the middle one."""
GAIN = 12
"""How strong each finer octave of noise is against the one before."""
WARP = 13
"""How far noise bends the pattern, in cells."""
STAIN = 14
"""Standard deviation of the natural logarithm of a wash of brightness over everything: wear, dirt, uneven dye."""
STAIN_CELL = 15
"""Largest spots of that wash."""
STAIN_GAIN = 16
"""As GAIN, of that wash."""
COSINE, SINE = 17, 18
"""Turn of patterns painted on faces."""
ASPECT = 19
"""Width over height: of a brick, a page, a leaf."""
JOINT = 20
"""Share of a cell that is joint (BRICK), disc (DOTS), first colour (STRIPES)."""
AXIS = 21
"""0, 1 or 2: the axis along the grain (WOOD) or across the layers (STRIPES, MARBLE)."""
WIDTH = 22
"""Width of a board of WOOD, metres; style of CHECKS (below one half: chessboard, else gingham)."""
PICTURE = 23
"""The first of three photos that follow each other in the stack; their colours are multiplied by the first colour."""
COLUMNS = 24

LEAF_LEVELS = 4
"""Sizes of dead leaves, each half as large as the one before and four times as many: the law of r^-3."""
PAGE_CUTS = 5
"""How often a printed page is cut in two."""
PAGE_WHOLE = 0.12
"""Share of blocks that a cut leaves whole."""
