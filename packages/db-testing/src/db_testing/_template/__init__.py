"""Templates, and the databases that are copied from them.

`_template` builds a schema once, `_clones` makes each worker's database of it, `_removal` and
`_claims` see to it that none is dropped that somebody uses, and that none stays.
"""
