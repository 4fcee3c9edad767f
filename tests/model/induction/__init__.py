"""
Secure is inductive: the rules in Z3, for any number of users, instances, cards and levels.

`terms` has the sorts, the world and the state; `rules` is vecd/ppm/rules.py row by row, `properties` is
vecd/ppm/properties.py; `steps` makes transitions of both. `prove` shows that no transition leaves what is secure.
That all this is what the daemon executes, `finite` and `real` hold: the very same terms, evaluated on
states of vecd.ppm, give the same answers, the same next states and the same properties. (docs/model.md, "Induction".)
"""
