"""The shared matrices and the card words: `writer` for the guard, `reader` for everybody else, `layout` for both.

cext/include/vec/shm.h and card.h are the layout, docs/shm.md explains it.
"""
