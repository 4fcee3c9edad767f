"""The paper's rules as its prose has them, as data; and the shortest ways in which they fail."""
