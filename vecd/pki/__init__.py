"""The authority's register: profile and registrar are pure, the store is SQLite."""
